"""Cases 61 to 70 of people who export: tied weights, no rows, versions, subclasses, refusals, declared shapes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphkit import Input, Layer, Model, errors, layers, models, ops
from graphkit.core.op import Op, apply
from tests.cases.fixtures import f1, f2
from tests.cases.serving import asked, served
from tests.cases.test_cases_export import dims, names, opened

RNG = np.random.default_rng(61)


# 61


class Tied(Layer):
    """h E^T: the words that h is near to, by the table that looked the words up."""

    def __init__(self, words: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = words

    def call(self, h: Any) -> Any:
        return ops.matmul(h, ops.transpose(self.words.embeddings))


class Speaker(Model):
    """A table that words are looked up in and told by, a layer that is used three times, a model in it twice."""

    def __init__(self) -> None:
        super().__init__(name="speaker")
        self.words = layers.Embedding(1000, 64, name="words")
        self.turn = layers.Dense(64, "tanh", name="turn")
        i = Input((None, 64), name="i")
        self.inner = Model(i, layers.Dense(64, name="deep")(i), name="inner")
        self.tell = Tied(self.words, name="tell")

    def call(self, ids: Any) -> Any:
        h = self.turn(self.turn(self.turn(self.words(ids))))
        return self.tell(self.inner(self.inner(h)))


def stored(file: Any) -> tuple[list[tuple[int, ...]], int]:
    """The shapes of a file's weights, and their bytes."""
    arrays = [onnx.numpy_helper.to_array(t) for t in file.graph.initializer]
    return [a.shape for a in arrays], sum(a.nbytes for a in arrays)


def test_case_61_shared_and_tied_weights_are_stored_once(tmp_path: Path) -> None:
    """Also behind more training, and behind a save and a load: E stays one table, which both ends read."""
    model = Speaker()
    ids = RNG.integers(0, 1000, (5, 7))
    model(ids)
    model.compile("sgd", "mse")
    before = model.words.embeddings.numpy()
    for turn in range(2):
        file, session = opened(model, tmp_path, input_signature={"ids": Input((None,), dtype="int64", name="ids")})
        shapes, nbytes = stored(file)
        assert sorted(shapes) == [(64,), (64,), (64, 64), (64, 64), (1000, 64)]
        assert nbytes == 4 * model.count_params()
        assert (tmp_path / "model.onnx").stat().st_size <= 1.1 * nbytes
        (table,) = (onnx.numpy_helper.to_array(t) for t in file.graph.initializer if t.dims[0] == 1000)
        np.testing.assert_array_equal(table, model.words.embeddings.numpy())
        for rows in (ids, ids[:2, :3]):
            (got,) = session.run(None, {"ids": rows})
            np.testing.assert_allclose(got, model.predict(rows), rtol=0, atol=1e-5)
        if turn == 0:
            model.save(tmp_path / "m.gk")
            model = models.load_model(tmp_path / "m.gk", custom_objects={"Speaker": Speaker, "Tied": Tied})
            model.compile("sgd", "mse")
            model.fit(ids, np.ones((5, 7, 1000), np.float32), epochs=1, verbose=0)
            assert abs(model.words.embeddings.numpy() - before).max() > 1e-6
            assert model.tell.words is model.words


# 64


def sequence() -> Model:
    return f2(bias_initializer="ones")


def picture() -> Model:
    x = Input((8, 8, 1), name="x")
    y = layers.MaxPooling2D()(layers.BatchNormalization()(layers.Conv2D(3, 3, activation="relu")(x)))
    return Model(x, layers.Dense(5, name="kind")(layers.Flatten()(y)))


def floats(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


EMPTY: list[tuple[str, Any, dict[str, Any], dict[str, tuple[int, ...]]]] = [
    ("F1", f1, {"a": floats(0, 3), "b": floats(0, 2)}, {"s": (0, 1), "d": (0, 2)}),
    ("F2 rows", sequence, {"ids": np.zeros((0, 5), np.int64)}, {"score": (0, 1)}),
    ("F2 steps", sequence, {"ids": np.zeros((2, 0), np.int64)}, {"score": (2, 1)}),
    ("F2 both", sequence, {"ids": np.zeros((0, 0), np.int64)}, {"score": (0, 1)}),
    ("CNN", picture, {"x": floats(0, 8, 8, 1)}, {"kind": (0, 5)}),
]


def by_name(model: Model, found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {model.output_names[0]: found}


@pytest.mark.parametrize(("name", "make", "feeds", "shapes"), EMPTY, ids=[e[0] for e in EMPTY])
def test_case_64_nothing_gives_nothing(name: str, make: Any, feeds: Any, shapes: Any, tmp_path: Path) -> None:
    """Predict, the file and the server; two rows of no steps give the score of the zero state, which is the bias."""
    model = make()
    _, session = opened(model, tmp_path)
    found = [by_name(model, model.predict(feeds))]
    found.append(dict(zip(model.output_names, session.run(None, feeds), strict=True)))
    full = {k: np.ones((2, *(n or 3 for n in v.shape[1:])), v.dtype) for k, v in feeds.items()}
    with served({"model": model}, tmp_path / "repository") as client:
        answer = asked(client, "model", feeds)
        found.append({n: answer.as_numpy(n) for n in shapes})
        behind = asked(client, "model", full)
        for key, want in by_name(model, model.predict(full)).items():
            np.testing.assert_allclose(behind.as_numpy(key), want, rtol=0, atol=1e-5)
    for got in found:
        assert {key: value.shape for key, value in got.items()} == shapes
        assert {value.dtype for value in got.values()} == {np.dtype(np.float32)}
        if name == "F2 steps":
            np.testing.assert_array_equal(got["score"], [[1], [1]])


@pytest.mark.parametrize("make", [f1, sequence, picture], ids=["F1", "F2", "CNN"])
def test_case_64_fit_on_no_rows_says_so(make: Any) -> None:
    model = make()
    model.compile("sgd", "mse")
    feeds = next(f for _, m, f, _ in EMPTY if m is make)
    wanted = {n: np.zeros((0, 1), np.float32) for n in model.output_names}
    with pytest.raises(errors.ArgumentError, match=r"0 rows|no rows"):
        model.fit(feeds, wanted, verbose=0)


# 65


def modern() -> Model:
    x = Input((None, 6), name="x")
    y = layers.LayerNormalization(name="norm")(x)
    y = layers.MultiHeadAttention(2, 3, name="attend")(y, y)
    return Model(x, {"y": layers.Dense(5, "gelu", name="dense")(y), "soft": layers.Dense(2, "softmax", name="s")(y)})


SMALLEST_IR = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13, 27: 13, 28: 14}


def test_case_65_every_opset_loads_and_answers_alike(tmp_path: Path) -> None:
    model = modern()
    newest = min(28, onnx.defs.onnx_opset_version())
    for opset in (None, *range(17, newest + 1)):
        file, session = opened(model, tmp_path, **({} if opset is None else {"opset": opset, "verify": opset % 3 == 0}))
        assert [(o.domain, o.version) for o in file.opset_import] == [("", opset or 20)]
        assert file.ir_version <= SMALLEST_IR[opset or 20]
        assert file.ir_version == onnx.helper.find_min_ir_version_for(file.opset_import)
        for x in (floats(2, 7, 6), floats(3, 1, 6)):
            want = model.predict(x)
            for name, got in zip(model.output_names, session.run(None, {"x": x}), strict=True):
                np.testing.assert_allclose(got, want[name], rtol=0, atol=1e-5, err_msg=f"{name} at opset {opset}")


@pytest.mark.parametrize("opset", [7, 13, 9999])
def test_case_65_an_opset_out_of_range_is_refused(opset: int, tmp_path: Path) -> None:
    with pytest.raises(errors.ArgumentError, match=f"opset {opset} is not supported; choose one from 17 to 2"):
        modern().export(tmp_path / "model.onnx", opset=opset)
    assert list(tmp_path.iterdir()) == []


# 67


class Blocks(Model):
    """Three blocks in a Python loop, a branch for training, a run-time shape; `kind` adds a branch on data."""

    def __init__(self, kind: str = "") -> None:
        super().__init__(name="blocks")
        self.kind = kind
        self.blocks = [layers.Dense(4, "tanh", name=f"block_{i}") for i in range(3)]

    def call(self, x: Any, lengths: Any, training: bool = False) -> Any:
        for block in self.blocks:
            x = block(x)
        if training:
            x = x * 1000.0
        rows, steps, _ = ops.shape(x)
        x = ops.reshape(x, (rows, steps * 2, 2))
        if self.kind == "if" and float(ops.sum(x)) > 0:
            x = x * 2.0
        if self.kind == "cond":
            x = ops.cond(ops.sum(x) > 0, lambda: x * 2.0, lambda: x)
        return ops.sum(x, axis=1) / ops.cast(lengths, "float32")[:, None]


SIGNATURE = {"x": Input((None, 3), name="x"), "lengths": Input(batch_shape=(None,), dtype="int64", name="lengths")}


def by_hand(model: Blocks, x: Any, lengths: Any, doubled: bool = False) -> Any:
    x = x.astype(np.float64)
    for block in model.blocks:
        kernel, bias = block.get_weights()
        x = np.tanh(x @ kernel + bias)
    pairs = x.reshape(len(x), -1, 2)
    return pairs.sum(1) * (2 if doubled and pairs.sum() > 0 else 1) / lengths[:, None]


def test_case_67_a_subclass_that_was_never_called_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(
        errors.ExportError, match=r"'blocks' is a subclass and was never called, .* call it .*or .*input_signature="
    ):
        Blocks().export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["called", "built", "signature"])
@pytest.mark.parametrize("kind", ["", "cond"], ids=["plain", "branch"])
def test_case_67_a_subclass_keeps_its_names_and_free_batch(way: str, kind: str, tmp_path: Path) -> None:
    model = Blocks(kind)
    options: Any = {"input_signature": SIGNATURE}
    if way == "called":
        options = {}
        for steps in (2, 5):
            model(floats(3, steps, 3), np.arange(1, 4))
    if way == "built":
        options = {}
        model.build({"x": (None, None, 3), "lengths": (None,)})
    file, session = opened(model, tmp_path, **options)
    assert names(file.graph.input) == ["x", "lengths"]
    assert dims(file.graph.input[0])[0] == dims(file.graph.input[1])[0] == dims(file.graph.output[0])[0] == "batch"
    assert [n.op_type for n in file.graph.node].count("Tanh") == 3
    assert [n.op_type for n in file.graph.node].count("If") == (kind == "cond")
    for rows, steps in ((1, 1), (5, 7), (2, 11)):
        x, lengths = floats(rows, steps, 3), RNG.integers(1, 9, rows).astype("float32" if way == "built" else "int64")
        for sign in (1, -1):
            feeds = {"x": sign * x, "lengths": lengths}
            want = by_hand(model, sign * x, lengths, kind == "cond")
            for got in (session.run(None, feeds)[0], np.asarray(model(sign * x, lengths)), model.predict(feeds)):
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("called", [False, True])
def test_case_67_a_branch_on_data_raises_at_its_line(called: bool, tmp_path: Path) -> None:
    """Eagerly the branch is Python's own; in the export there is no number, and no branch is taken without a word."""
    model = Blocks("if")
    if called:
        model(floats(3, 2, 3), np.arange(1, 4))
    line = next(
        i for i, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "float(ops.sum(x)) > 0" in text
    )
    with pytest.raises(errors.TraceError, match=rf"test_cases_exported.py:{line}: float\(\) asks .*ops.cond"):
        model.export(tmp_path / "model.onnx", input_signature=SIGNATURE)
    assert list(tmp_path.iterdir()) == []


# 68


class Sorted(Op):
    """An op of a person's own, in NumPy alone."""

    def infer(self, x: Any) -> Any:
        return x

    def forward(self, x: Any, out: Any = None) -> Any:
        return np.sort(x, axis=-1)


class Doubled(Sorted):
    """One that says how it is written."""

    def forward(self, x: Any, out: Any = None) -> Any:
        return np.multiply(x, 2, out=out)

    def lower(self, b: Any, ins: Any, outs: Any) -> None:
        b.node("Mul", [ins[0], b.constant(2, b.spec(ins[0]).dtype)], outs)


class Own(Layer):
    """A layer that calls an op of a person's own, in a branch where `inside` says so."""

    def __init__(self, op: Any, inside: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.op, self.inside = op, inside

    def call(self, x: Any) -> Any:
        if self.inside:
            return ops.cond(ops.sum(x) > 0, lambda: apply(self.op, x), lambda: x)
        return apply(self.op, x)


def with_own(op: Any, inside: bool = False) -> Model:
    i = Input((5,), name="i")
    bar = Model(i, Own(op, inside, name="inner")(layers.Dense(5, name="d")(i)), name="bar")
    x = Input((5,), name="x")
    return Model(x, layers.Dense(2, name="head")(bar(Own(op, name="foo")(x))))


@pytest.mark.parametrize("inside", [False, True], ids=["plain", "in a branch"])
@pytest.mark.parametrize("opset", [17, 20])
def test_case_68_all_that_cannot_be_exported_is_told_at_once(inside: bool, opset: int, tmp_path: Path) -> None:
    """Layer paths, op, opset, the way out; what stood at the path stays as it was."""
    (tmp_path / "model.onnx").write_bytes(b"as it was")
    with pytest.raises(errors.ExportError) as told:
        with_own(Sorted(), inside).export(tmp_path / "model.onnx", opset=opset)
    for part in (
        "foo: Sorted has no ONNX form",
        "bar/inner: Sorted has no ONNX form",
        f"opset {opset}",
        "lower(b, ins",
    ):
        assert part in str(told.value)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"as it was"


@pytest.mark.parametrize("rows", [2, 7])
def test_case_68_an_op_that_says_how_exports(rows: int, tmp_path: Path) -> None:
    model = with_own(Doubled(), inside=True)
    file, session = opened(model, tmp_path)
    assert {n.op_type for n in file.graph.node} >= {"Mul", "If"}
    x = floats(rows, 5)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], model.predict(x), rtol=0, atol=1e-5)


# 70


def varied() -> Model:
    """Outputs whose sizes follow from T and U in different ways, and a number for the whole batch."""
    x, y = Input((None, 2), name="x"), Input((None, 2), name="y")
    half = layers.Conv1D(3, 3, strides=2, padding="same", name="half")(x)
    outputs = {
        "half": half, "twice": layers.UpSampling1D(2, name="twice")(x),
        "both": layers.Concatenate(1, name="both")([x, y]), "rows": ops.mean(x, axis=(1, 2)),
        "one": ops.max(ops.abs(y)) + ops.mean(x),
    }  # fmt: skip
    return Model([x, y], outputs)


WARNED = """
import sys, numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 2
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
for t in range(1, 7):
    for u in (1, 4):
        found = session.run(None, {"x": np.ones((2, t, 2), "f"), "y": np.ones((2, u, 2), "f")})
        print([list(f.shape) for f in found])
"""


def test_case_70_declared_shapes_are_true(tmp_path: Path) -> None:
    model = varied()
    file, _ = opened(model, tmp_path)
    told = {o.name: dims(o) for o in file.graph.output}
    free = [told[n][1] for n in ("half", "twice", "both")] + [dims(i)[1] for i in file.graph.input]
    assert all(isinstance(name, str) and name for name in free)
    assert len({*free, told["half"][0]}) == 6
    assert (told["rows"], told["one"]) == ([told["half"][0]], [])
    done = subprocess.run(
        [sys.executable, "-c", WARNED, tmp_path / "model.onnx"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    shapes = [[[2, (t + 1) // 2, 3], [2, 2 * t, 2], [2, t + u, 2], [2], []] for t in range(1, 7) for u in (1, 4)]
    assert done.stdout.splitlines() == [str(s) for s in shapes]
    with served({"model": model}, tmp_path / "repository") as client:
        metadata = client.get_model_metadata("model")
        assert {o.name: list(o.shape) for o in metadata.outputs} == {
            "half": [-1, -1, 3], "twice": [-1, -1, 2], "both": [-1, -1, 2], "rows": [-1], "one": [],
        }  # fmt: skip
        for t, u in ((5, 3), (6, 1)):
            feeds = {"x": floats(3, t, 2), "y": floats(3, u, 2)}
            answer = asked(client, "model", feeds)
            for name, want in model.predict(feeds).items():
                np.testing.assert_allclose(answer.as_numpy(name), want, rtol=0, atol=1e-5)
