"""What can be checked of an ONNX file without the model it was written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ExportError
from graphkit.core.lazy import module
from graphkit.export.child import run_file
from graphkit.export.file import OnnxFile, weights_sha256
from graphkit.export.report import told
from graphkit.export.trials import LONGER, asked_for, enlarged, example, free_sizes, several


@dataclass
class Checked:
    """What was found right, what could not be looked at, and what is wrong; the sizes that were run."""

    right: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sizes: list[dict[str, int]] = field(default_factory=list)

    def __str__(self) -> str:
        marked = [("ok     ", self.right), ("note   ", self.notes), ("wrong  ", self.problems)]
        return "\n".join(f"{mark}{line}" for mark, lines in marked for line in lines)


def checked(file: OnnxFile, sizes: Sequence[Any] | None = None) -> Checked:
    """The checker, a session, runs at these sizes or several, and the hash of the weights, of a file alone."""
    found = Checked()
    refused = refusal(file)
    (found.problems if refused else found.right).append(refused or "onnx's checker, with shape inference")
    _by_hash(file, found)
    try:
        _by_runs(file, sizes, found)
    except ExportError as error:
        found.problems.append(str(error))
    found.notes.append("the answers were compared with no model: give the saved model with --against")
    return found


def refusal(file: OnnxFile) -> str:
    """What onnx's checker has against the file, shapes inferred; empty where it takes it."""
    onnx = module("onnx")
    try:
        onnx.checker.check_model(str(file.path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return f"onnx's checker refuses it: {error}"
    return ""


def _by_hash(file: OnnxFile, found: Checked) -> None:
    noted = file.metadata.get("graphkit.weights_sha256")
    try:
        got = weights_sha256(file.weights())
    except ExportError as error:
        found.problems.append(str(error))
        return
    if noted is None:
        found.notes.append("no hash of the weights is noted in the file")
    elif noted == got:
        found.right.append("the weights have the hash that was noted when the file was written")
    else:
        found.problems.append(f"the weights are not those that were written: their hash is {got}, {noted} is noted")


def _by_runs(file: OnnxFile, sizes: Sequence[Any] | None, found: Checked) -> None:
    """Runs it at the sizes asked for, at those of its own report, or at several, longer where these do not fit."""
    strange = [str(e) for e in file.inputs if e.dims is None or e.dtype is None or e.dtype.kind not in "fiubO"]
    if strange:
        found.notes.append(f"not run, as there is no telling what to feed: {'; '.join(strange)}")
        return
    free = free_sizes(e.dims or () for e in file.inputs)
    own = file.noted("report").get("sizes")
    trials = asked_for(free, sizes or own) if sizes or own else several(free)
    refused: dict[int, str] = {}
    waiting = dict(enumerate(trials))
    for more in (0,) if sizes or own else LONGER:
        tried = {number: enlarged(case, more) for number, case in waiting.items()}
        ran = run_file(
            file.path, [e.name for e in file.inputs], [_feeds(file, c) for c in tried.values()], strict=False
        )
        found.notes += [f"onnxruntime warns: {w}" for w in ran.warnings if w not in str(found.notes)]
        for place, number in enumerate(tried):
            if place in ran.refused:
                refused.setdefault(number, f"at {told(tried[number])} onnxruntime refuses it: {ran.refused[place]}")
            else:
                del waiting[number]
                found.sizes.append(tried[number])
                found.problems += _unlike(file, tried[number], ran.outputs[place])
        waiting = {n: case for n, case in waiting.items() if 0 not in case.values()}
        if not waiting:
            break
    lines = [line for number, line in refused.items() if number in waiting or 0 in trials[number].values()]
    (found.problems if sizes or own or not found.sizes else found.notes).extend(lines)
    if found.sizes:
        found.right.append(f"onnxruntime runs it at {'; '.join(told(s) for s in found.sizes)}")


def _feeds(file: OnnxFile, sizes: dict[str, int]) -> list[Array]:
    rng = np.random.default_rng(sum(sizes.values()))
    ranges = file.noted("id_ranges")
    found = []
    for end in file.inputs:
        shape = tuple(sizes[d] if isinstance(d, str) else d for d in end.dims or ())
        ids = ranges.get(end.name)
        found.append(example(rng, shape, np.dtype(end.dtype), ids and tuple(ids)))
    return found


def _unlike(file: OnnxFile, sizes: dict[str, int], outputs: dict[str, Array]) -> list[str]:
    """Outputs that are not as the file declares them."""
    wrong = []
    for end in file.outputs:
        got = outputs[end.name]
        declared = [sizes.get(d) if isinstance(d, str) else d for d in end.dims or ()]
        fits = end.dims is None or (
            len(declared) == got.ndim and all(d in (None, n) for d, n in zip(declared, got.shape, strict=True))
        )
        if not fits or (end.dtype is not None and end.dtype != got.dtype and end.dtype != object):
            wrong.append(f"output {end} is {got.shape} {got.dtype} at {told(sizes)}")
    return wrong
