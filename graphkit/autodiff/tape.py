"""GradientTape: note the calls inside a `with` block, then ask for gradients (Wengert, 1964)."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.context import changed, current, drop_recorder, push_recorder
from graphkit.core.dtypes import is_float
from graphkit.core.errors import ArgumentError, DtypeError, GradientError, ShapeError
from graphkit.core.op import Value, spec_of
from graphkit.core.reverse import Recording, added, backward, zeros_like
from graphkit.core.spec import fits, show
from graphkit.ops import convert_to_tensor, reshape, stack


class GradientTape:
    """Notes op calls on watched values; `gradient` walks them backwards.

    persistent: keep the notes, so that `gradient` may be called more than once.
    watch_accessed_variables: watch trainable variables without being asked.
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self.persistent = persistent
        self._recording = Recording(watch_accessed_variables)
        self._used = False

    def __enter__(self) -> GradientTape:
        push_recorder(self._recording)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drop_recorder(self._recording)

    def watch(self, value: Any) -> None:
        """Follow a tensor, a symbol or a variable, or a tree of them.

        A NumPy array raises: each op would see a new value, and the gradient would vanish without a word. So
        ArgumentError for what is no value, DtypeError for one that is not of floats.
        """
        for leaf in tree.leaves(value):
            if not isinstance(leaf, Value):
                raise ArgumentError(
                    f"tape.watch got a {type(leaf).__name__}; watch a tensor: x = ops.convert_to_tensor(x)"
                )
            if not is_float(leaf.dtype):
                raise DtypeError(f"tape.watch got a value of dtype {leaf.dtype}; only floats have gradients")
            self._recording.watch(leaf)

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: str = "none",
    ) -> Any:
        """d target / d sources, in the structure of `sources`; None for a source that does not reach the target.

        target: a value or a tree of them; several are summed, as are all elements of one.
        output_gradients: cotangents in the structure of `target`; ones where not given.
        unconnected_gradients: "none", or "zero" for zeros in place of None. GradientError at a second call without
        persistent, ArgumentError for another unconnected_gradients.
        """
        if self._used and not self.persistent:
            raise GradientError(
                "this tape has been asked for a gradient already; make it with "
                "GradientTape(persistent=True) to ask it twice"
            )
        if unconnected_gradients not in ("none", "zero"):
            raise ArgumentError(f'unconnected_gradients must be "none" or "zero", got {unconnected_gradients!r}')
        self._used = True
        recording = self._recording
        recording.paused, before = not self.persistent, recording.paused
        try:
            targets = tree.leaves(target)
            with changed(masks=False, trace=_trace(targets)):
                seeds = self._seeds(targets, output_gradients)
                backward(list(recording.records), seeds, recording.tracked)
                found = [self._of(s, seeds, unconnected_gradients) for s in tree.leaves(sources)]
        finally:
            recording.paused = before
        if not self.persistent:
            recording.records.clear()
        return tree.rebuild(sources, iter(found))

    def jacobian(self, target: Any, sources: Any) -> Any:
        """d target / d sources for each element of the target: (*target sizes, *source sizes) each; None as `gradient`.

        One walk an element. The target's sizes must be known. ArgumentError where the target is no single value,
        ShapeError where its sizes are free.
        """
        if not isinstance(target, Value):
            raise ArgumentError(f"the target is a {type(target).__name__}; a jacobian needs one value made by ops")
        dims = spec_of(target).dims
        if any(not isinstance(d, int) for d in dims):
            raise ShapeError(f"a jacobian needs a target of known sizes, got {show(dims)}")
        sizes = spec_of(target).numbers
        count = int(np.prod(sizes))
        if count == 0:
            return tree.mapped(
                lambda s: convert_to_tensor(np.zeros((*sizes, *spec_of(s).shape), spec_of(s).dtype)), sources
            )
        basis = np.eye(count, dtype=spec_of(target).dtype).reshape(count, *sizes)
        kept, self.persistent = self.persistent, True
        try:
            rows = [tree.leaves(self.gradient(target, sources, output_gradients=row)) for row in basis]
        finally:
            self.persistent = kept
        found: list[Any] = []
        for column in zip(*rows, strict=True):
            if any(x is None for x in column):
                found.append(None)
            else:
                stacked = stack(column, 0)
                found.append(reshape(stacked, (*sizes, *spec_of(column[0]).dims)))
        return tree.rebuild(sources, iter(found))

    def _seeds(self, targets: Sequence[Any], given: Any) -> dict[int, Any]:
        cotangents = [None] * len(targets) if given is None else tree.leaves(given)
        if len(cotangents) != len(targets):
            raise ArgumentError(f"{len(targets)} targets but {len(cotangents)} output_gradients")
        seeds: dict[int, Any] = {}
        for target, cotangent in zip(targets, cotangents, strict=True):
            if not isinstance(target, Value):
                raise ArgumentError(f"the target is a {type(target).__name__}; a gradient needs a value made by ops")
            if not is_float(target.dtype):
                raise DtypeError(
                    f"the target has dtype {target.dtype}; only floats have gradients: take ops.max or ops.softmax in "
                    "place of argmax, or ops.cast in front of the loss"
                )
            seed = _seed(target, cotangent)
            key = id(self._versions(target)[-1])
            seeds[key] = seed if key not in seeds else seeds[key] + seed
        return seeds

    def _versions(self, value: Any) -> list[Any]:
        """The versions of a variable that were read, else the value itself."""
        reads = self._recording.reads.get(id(value)) if getattr(value, "is_variable", False) else None
        return reads or [value]

    def _of(self, source: Any, seeds: dict[int, Any], unconnected: str) -> Any:
        if not isinstance(source, Value):
            raise ArgumentError(f"a source is a {type(source).__name__}; take the gradient with respect to values")
        total: Any = None
        for value in self._versions(source):
            part = seeds.get(id(value))
            if part is not None:
                total = part if total is None else added(total, part)
        return zeros_like(source) if total is None and unconnected == "zero" else total


def _trace(targets: Sequence[Any]) -> Any:
    """Who reads the formulas: the trace, or where symbols are outside one their recorder, so variables stay leaves."""
    trace = current().trace
    found = [t.interpreter for t in targets if isinstance(t, Value) and t.interpreter is not None]
    return found[0] if trace is None and found else trace


def _seed(target: Any, cotangent: Any) -> Any:
    spec = spec_of(target)
    if cotangent is None:
        return zeros_like(target) + 1.0
    value = convert_to_tensor(cotangent)
    if not isinstance(cotangent, Value):
        value = convert_to_tensor(np.asarray(cotangent, spec.dtype))
    have = spec_of(value).dims
    if not fits(have, spec.dims):
        raise ShapeError(f"the target has shape {show(spec.dims)}, its output gradient {show(have)}")
    return value
