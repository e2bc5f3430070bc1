"""The requests of the soak test: drawn from a seed, with what is right in float64 and what is wrong with an answer."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from benchmarks.soak_models import DEFAULT, IDS, RELOADED, WIDE, WIDTH, weights
from serve.messages import ModelInferRequest

#: Rows of a request and how often; the last makes a message that the server reads on a thread.
ROWS, SHARES = (0, 1, 2, 3, 5, 7, 13, 31, 64, 2501), (5, 55, 8, 8, 7, 6, 5, 3, 2, 0.4)
#: Rounds of the loop that no answer is waited for.
LONG = 2**40
TOLERANCE = 2e-6


@dataclass
class Asked:
    """A request; `want`: its outputs in float64, or raw ones of BYTES, by the version that answers."""

    model: str
    inputs: list[tuple[str, str, list[int], bytes]]
    want: Callable[[int], Mapping[str, Any]]
    outputs: tuple[str, ...] = ()
    signature: str = DEFAULT
    version: str = ""
    by_parameter: bool = False
    queue_microseconds: int = 0
    id: str = ""

    def message(self) -> bytes:
        """The serialized ModelInferRequest."""
        named = self.signature != DEFAULT
        address = f"{self.model}:{self.signature}" if named and not self.by_parameter else self.model
        request = ModelInferRequest(model_name=address, model_version=self.version, id=self.id)
        if named and self.by_parameter:
            request.parameters["signature_name"].string_param = self.signature
        if self.queue_microseconds:
            request.parameters["timeout"].int64_param = self.queue_microseconds
        for name, datatype, shape, raw in self.inputs:
            request.inputs.add(name=name, datatype=datatype, shape=shape)
            request.raw_input_contents.append(raw)
        for name in self.outputs:
            request.outputs.add(name=name)
        data: bytes = request.SerializeToString()
        return data


@dataclass
class Draw:
    """Draws requests from a seed: `choice` decides, `numbers` fills arrays."""

    seed: tuple[int, ...]
    choice: Random = field(init=False)
    numbers: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.choice = Random(repr(self.seed))
        self.numbers = np.random.default_rng(self.seed)

    def request(self) -> Asked:
        """One of any model, of any size."""
        model = self.choice.choices((*RELOADED, "count"), (34, 26, 22, 14, 4))[0]
        if model == "count":
            return self.count(self.choice.randrange(300))
        rows = self.choice.choices(ROWS, SHARES)[0]
        return {"dense": self.dense, "blend": self.blend, "mean": self.mean, "words": self.words}[model](rows)

    def dense(self, rows: int) -> Asked:
        """Either signature, named in either way."""
        x = self.numbers.standard_normal((rows, WIDTH), np.float32)

        def want(version: int) -> Mapping[str, Any]:
            made = weights("dense", version)
            h = x.astype("f8") @ made["w"].astype("f8") + made["b"]
            return {"y": h} if signature == DEFAULT else {"z": np.tanh(h)}

        signature = DEFAULT if self.choice.random() < 0.6 else "squash"
        sent = [("x", "FP32", [rows, WIDTH], x.tobytes())]
        return Asked("dense", sent, want, signature=signature, by_parameter=self.choice.random() < 0.5)

    def blend(self, rows: int) -> Asked:
        """One output, both, or both turned round."""
        rows = min(rows, 1001)
        a, b = self.numbers.standard_normal((2, rows, WIDE), np.float32)

        def want(version: int) -> Mapping[str, Any]:
            ak = a.astype("f8") * weights("blend", version)["k"]
            found = {"sum": ak + b, "most": np.maximum(ak, b)}
            return {name: found[name] for name in outputs or ("sum", "most")}

        outputs = self.choice.choice(((), ("sum",), ("most",), ("most", "sum")))
        sent = [(name, "FP32", [rows, WIDE], array.tobytes()) for name, array in (("a", a), ("b", b))]
        return Asked("blend", sent, want, outputs)

    def mean(self, rows: int) -> Asked:
        """Ids of one to eleven places."""
        length = self.choice.randrange(1, 12)
        ids = self.numbers.integers(0, IDS, (rows, length))
        sent = [("ids", "INT64", [rows, length], ids.tobytes())]
        return Asked("mean", sent, lambda version: {"y": weights("mean", version)["table"].astype("f8")[ids].mean(1)})

    def words(self, rows: int) -> Asked:
        """Texts of up to nine characters, of one to four bytes each; one to three in a row."""
        rows, across = min(rows, 64), self.choice.randrange(1, 4)
        letters = self.choice.choices("aZ 09\u00e9\u00df\u4e2d\U0001f600", k=9)
        texts = ["".join(letters[: self.choice.randrange(10)]).encode() for _ in range(rows * across)]
        raw = b"".join(struct.pack("<I", len(text)) + text for text in texts)

        def want(version: int) -> Mapping[str, Any]:
            suffix = f" of {version}".encode()
            return {"y": b"".join(struct.pack("<I", len(text + suffix)) + text + suffix for text in texts)}

        return Asked("words", [("text", "BYTES", [rows, across], raw)], want)

    def count(self, rounds: int) -> Asked:
        """A loop of so many rounds, from a whole number."""
        x = float(self.choice.randrange(1000))
        sent = [("rounds", "INT64", [], struct.pack("<q", rounds)), ("x", "FP32", [1], struct.pack("<f", x))]
        return Asked("count", sent, lambda _version: {"y": np.array([x + rounds])})

    def malformed(self) -> tuple[bytes, str]:
        """A request that is wrong in one way, and the status it must get."""
        way = self.choice.choice(_WAYS)
        return way(self)


def _short(draw: Draw, rows: int = 3) -> tuple[bytes, str]:
    asked = draw.dense(rows)
    name, datatype, shape, raw = asked.inputs[0]
    asked.inputs[0] = (name, datatype, shape, raw[:-1])
    return asked.message(), "INVALID_ARGUMENT"


def _long_and_short(draw: Draw) -> tuple[bytes, str]:
    return _short(draw, ROWS[-1])


def _width(draw: Draw) -> tuple[bytes, str]:
    asked = draw.dense(4)
    asked.inputs[0] = ("x", "FP32", [4, WIDTH + 1], bytes(16 * (WIDTH + 1)))
    return asked.message(), "INVALID_ARGUMENT"


def _datatype(draw: Draw) -> tuple[bytes, str]:
    asked = draw.blend(2)
    name, _, shape, raw = asked.inputs[0]
    asked.inputs[0] = (name, "INT32", shape, raw)
    return asked.message(), "INVALID_ARGUMENT"


def _missing(draw: Draw) -> tuple[bytes, str]:
    asked = draw.blend(5)
    asked.inputs.pop()
    return asked.message(), "INVALID_ARGUMENT"


def _unequal(draw: Draw) -> tuple[bytes, str]:
    asked, other = draw.blend(5), draw.blend(3)
    asked.inputs[1] = other.inputs[1]
    return asked.message(), "INVALID_ARGUMENT"


def _output(draw: Draw) -> tuple[bytes, str]:
    asked = draw.mean(1)
    asked.outputs = ("nothing",)
    return asked.message(), "INVALID_ARGUMENT"


def _id(draw: Draw) -> tuple[bytes, str]:
    asked = draw.mean(0)
    wrong = draw.choice.choice((-1, IDS, 2**62))
    asked.inputs = [("ids", "INT64", [1, 1], struct.pack("<q", wrong))]
    return asked.message(), "INVALID_ARGUMENT"


def _length(draw: Draw) -> tuple[bytes, str]:
    asked = draw.words(1)
    asked.inputs = [("text", "BYTES", [1, 1], struct.pack("<I", 77) + b"short")]
    return asked.message(), "INVALID_ARGUMENT"


def _garbage(draw: Draw) -> tuple[bytes, str]:
    return b"\xff" + draw.numbers.bytes(draw.choice.randrange(1, 200)), "INVALID_ARGUMENT"


def _version_text(draw: Draw) -> tuple[bytes, str]:
    asked = draw.request()
    asked.version = draw.choice.choice(("01", "latest", "-1"))
    return asked.message(), "INVALID_ARGUMENT"


def _version(draw: Draw) -> tuple[bytes, str]:
    asked = draw.request()
    asked.version = "999999"
    return asked.message(), "NOT_FOUND"


def _model(draw: Draw) -> tuple[bytes, str]:
    asked = draw.request()
    asked.model = "sparse"
    return asked.message(), "NOT_FOUND"


def _signature(draw: Draw) -> tuple[bytes, str]:
    asked = draw.dense(2)
    asked.signature = "squeeze"
    return asked.message(), "NOT_FOUND"


_WAYS = (_short, _long_and_short, _width, _datatype, _missing, _unequal, _output, _id, _length, _garbage,
         _version_text, _version, _model, _signature)  # fmt: skip


def fault(asked: Asked, response: Any, versions: range) -> str:
    """What is wrong with an answer; empty where it is right."""
    want = asked.want(int(response.model_version))
    told = (response.id, response.model_name, response.parameters["signature_name"].string_param)
    if told != (asked.id, asked.model, asked.signature):
        return f"is the answer to {told}"
    if response.model_version not in ([asked.version] if asked.version else map(str, versions)):
        return f"is of version {response.model_version}, asked for {asked.version or 'the newest'}, of {versions}"
    if [one.name for one in response.outputs] != list(want):
        return f"has outputs {[one.name for one in response.outputs]}, not {list(want)}"
    rows = zip(response.outputs, response.raw_output_contents, want.values(), strict=True)
    return next(filter(None, (_difference(one, raw, right, asked.inputs[0][2]) for one, raw, right in rows)), "")


def _difference(output: Any, raw: bytes, right: Any, shape: list[int]) -> str:
    """What is wrong with one output; strings have the shape of the input."""
    found = (output.datatype, list(output.shape))
    if isinstance(right, bytes):
        return "" if (*found, raw) == ("BYTES", shape, right) else f"has other strings in {output.name}, {found}"
    if found != ("FP32", list(right.shape)):
        return f"has {found} in {output.name}, not FP32 {list(right.shape)}"
    apart = np.abs(np.frombuffer(raw, "<f4").reshape(right.shape) - right).max(initial=0)
    return "" if apart <= TOLERANCE * np.abs(right).max(initial=1) else f"differs by {apart} in {output.name}"
