"""`graphkit call`: one request to a server, its inputs from files or as JSON, its answer as text, JSON or files."""

from __future__ import annotations

import io
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from graphkit.cli.failing import told
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError
from graphkit.core.files import write_whole
from graphkit.serving import client_of, declared

ADDRESS = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the server listens.")]
MODEL = Annotated[str, typer.Argument(help="The model's name.")]
INPUTS = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=VALUE", help="JSON, @FILE.npy, @FILE.json, or @- for JSON from the input."),
]
OUTPUTS = Annotated[list[str] | None, typer.Option("--output", metavar="NAME", help="Only these, in this order.")]
FILES = Annotated[
    list[str] | None,
    typer.Option("--output-file", metavar="NAME=@FILE", help="Write an output as .npy or .json in place of printing."),
]
SIGNATURE = Annotated[str | None, typer.Option(help="A signature other than the model's own.")]
VERSION = Annotated[str, typer.Option(help="A version other than the newest.")]
DEADLINE = Annotated[float, typer.Option(min=0.001, help="Seconds for the whole call.")]
TOKEN = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="A file that holds the token alone.")]
TLS = Annotated[bool, typer.Option("--tls", help="TLS, trusting whom the system trusts.")]
CA = Annotated[Path | None, typer.Option("--ca", metavar="PEM", help="TLS, trusting whom this certificate signed.")]
CERTIFICATE = Annotated[Path | None, typer.Option(metavar="PEM", help="Our own certificate, with --key.")]
KEY = Annotated[Path | None, typer.Option(metavar="PEM", help="The key of our certificate.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON: model, and outputs with datatype, shape and data.")]


def call(
    address: ADDRESS,
    model: MODEL,
    given: INPUTS = None,
    output: OUTPUTS = None,
    output_file: FILES = None,
    signature: SIGNATURE = None,
    version: VERSION = "",
    deadline: DEADLINE = 60.0,
    token_file: TOKEN = None,
    tls: TLS = False,
    ca: CA = None,
    certificate: CERTIFICATE = None,
    key: KEY = None,
    as_json: JSON = False,
) -> None:
    """Ask a model on a server; values take the datatypes that the model declares. Exit status 1 where it fails.

    graphkit call localhost:8001 tickets --input 'title=[["vpn down"]]'

    graphkit call localhost:8001 digits --input image=@image.npy --output-file class=@class.npy

    graphkit call server:8001 tickets --ca ca.pem --token-file token --input 'title=@title.json' --json
    """
    texts = _pairs("--input", given)
    files = {what: text.removeprefix("@") for what, text in _pairs("--output-file", output_file).items()}
    if (certificate is None) != (key is None):
        raise typer.BadParameter("--certificate and --key go together")
    paths = {"ca": ca, "certificate": certificate, "key": key}
    name = model if signature is None else f"{model}:{signature}"
    ends = time.monotonic() + deadline
    with told("call"):
        for what, path in files.items():
            _check_target(what, Path(path))
        token = None if token_file is None else _token(token_file)
        with client_of(address, deadline, token, paths if tls or any(paths.values()) else None) as client:
            metadata = client.metadata(name, version)
            _check_names(metadata, texts, files.keys() | set(output or ()))
            values = {what: _value(what, text) for what, text in texts.items()}
            wanted = None if output is None else [*output, *(one for one in files if one not in output)]
            answer = client.infer(name, values, wanted, max(0.0, ends - time.monotonic()), version)
        for what, path in files.items():
            _write(what, Path(path), answer[what])
    shown = {what: array for what, array in answer.items() if what not in files}
    datatypes = {tensor.name: tensor.datatype for tensor in metadata.outputs}
    typer.echo(_as_json(name, shown, files, datatypes) if as_json else _as_text(shown, files, answer, datatypes))


def _pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """NAME=VALUE by name; a usage error for anything else."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise typer.BadParameter(f"{option} takes NAME=VALUE, got {text!r}")
        if name in found:
            raise typer.BadParameter(f"{option} {name} is given twice")
        found[name] = value
    return found


def _check_names(metadata: Any, inputs: Mapping[str, str], outputs: set[str]) -> None:
    """ArgumentError for names that the model does not have, and for a call that gives none of its inputs."""
    takes = ", ".join(f"{tensor.name} {declared(tensor)}" for tensor in metadata.inputs)
    known = {tensor.name for tensor in metadata.inputs}
    if unknown := sorted(inputs.keys() - known):
        raise ArgumentError(f"--input {unknown[0]}: '{metadata.name}' has no such input; it takes {takes}")
    if missing := [tensor.name for tensor in metadata.inputs if tensor.name not in inputs]:
        raise ArgumentError(f"'{metadata.name}' takes {takes}; give --input {missing[0]}=@FILE.npy, @FILE.json or JSON")
    gives = [tensor.name for tensor in metadata.outputs]
    if unknown := sorted(outputs - set(gives)):
        raise ArgumentError(f"output {unknown[0]!r}: '{metadata.name}' gives {', '.join(gives)}")


def _value(name: str, text: str) -> Any:
    """What an --input says: an array of a .npy file, or what JSON stands for."""
    if not text.startswith("@"):
        return _parsed(name, text, "it")
    if text == "@-":
        return _parsed(name, sys.stdin.read(), "the standard input")
    path = Path(text[1:])
    data = _read(f"--input {name}:", path)
    if path.suffix != ".npy":
        return _parsed(name, data, str(path))
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ArgumentError(f"--input {name}: {path} is no .npy file of numbers or texts: {error}") from error


def _parsed(name: str, text: str | bytes, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = f"; a text is written '{name}=[\"...\"]', a file {name}=@FILE" if place == "it" else ""
        raise ArgumentError(f"--input {name}: {place} is no JSON: {error}{hint}") from error


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArgumentError(f"{option} {path} cannot be read: {error.strerror}") from error


def _token(path: Path) -> str:
    token = _read("--token-file", path).decode(errors="replace").strip()
    if not token or not token.isprintable() or len(token.split()) != 1:
        raise ArgumentError(f"--token-file {path}: expected one token and nothing else")
    return token


def _check_target(name: str, path: Path) -> None:
    """ArgumentError, before anything is asked, for a file that cannot be written."""
    if path.suffix not in (".npy", ".json"):
        raise ArgumentError(f"--output-file {name}: give a file that ends in .npy or .json, got {path}")
    if not path.parent.is_dir():
        raise ArgumentError(f"--output-file {name}: the folder {path.parent} does not exist; make it first")


def _write(name: str, path: Path, array: Array) -> None:
    content = json.dumps(_plain(array)).encode() if path.suffix == ".json" else _npy(name, array)
    try:
        write_whole(path, lambda file: file.write(content))
    except OSError as error:
        raise ArgumentError(f"--output-file {name}: {path} cannot be written: {error.strerror}") from error


def _npy(name: str, array: Array) -> memoryview:
    stored = array
    if array.dtype == object:
        stored = array.astype(np.str_)
        if (stored != array).any():
            raise ArgumentError(f"--output-file {name}: a .npy file drops the zeros at the end of texts; take .json")
    elif array.dtype.kind not in "biuf":
        stored = array.astype(np.float32)  # bfloat16, which .npy has no word for
    content = io.BytesIO()
    np.save(content, stored, allow_pickle=False)
    return content.getbuffer()


def _plain(array: Array) -> Any:
    """As JSON may hold it: infinities and NaN are words, as in protobuf's JSON."""
    if array.dtype.kind in "biuO":
        return array.tolist()
    wide = array.astype(np.float64)
    if np.isfinite(wide).all():
        return wide.tolist()
    words = np.array([x if math.isfinite(x) else _word(x) for x in wide.ravel().tolist()], object)
    return words.reshape(wide.shape).tolist()


def _word(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _as_json(model: str, shown: dict[str, Array], files: dict[str, str], datatypes: dict[str, str]) -> str:
    outputs: dict[str, Any] = {
        name: {"datatype": datatypes[name], "shape": list(array.shape), "data": _plain(array)}
        for name, array in shown.items()
    }
    return json.dumps({"model": model, "outputs": outputs, "files": files})


def _as_text(
    shown: dict[str, Array], files: dict[str, str], answer: dict[str, Array], datatypes: dict[str, str]
) -> str:
    def head(name: str) -> str:
        return f"{name}: {datatypes[name]} {list(answer[name].shape)}"

    lines = [f"{head(name)}\n{array}" for name, array in shown.items()]
    return "\n".join([*lines, *(f"{head(name)} in {path}" for name, path in files.items())])
