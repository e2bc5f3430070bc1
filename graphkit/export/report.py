"""The report of a comparison: for each output the worst difference and where, the sizes tried, and what is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, is_float

TOLERANCE = 1e-5
ROW = "{:<24}{:>9}{:>11}{:>11}{:>11}  {}"


@dataclass
class Report:
    """What was compared: for each output the worst difference, where, and the sizes tried.

    outputs: by name; `error` is absolute, `relative` that by the largest value, `case` a place in sizes, `index` one
    in the output. layer: the first that differs. weights: those that are not the model's.
    """

    sizes: list[dict[str, int]] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tolerance: float = TOLERANCE
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    layer: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data, without what is empty."""
        return {key: value for key, value in asdict(self).items() if value}

    def failure(self) -> str:
        """What is wrong, in a sentence; empty where nothing is."""
        where = f"; first layer that differs: {self.layer}" if self.layer else ""
        return f"{'; '.join([*self.problems[:1], *self.weights[:3]])}{where}" if self.problems or self.weights else ""

    def __str__(self) -> str:
        tried = "; ".join(", ".join(f"{k} {v}" for k, v in s.items()) for s in self.sizes)
        lines = [f"verified against predict at {len(self.sizes)} sizes ({tried})"]
        for name, worst in self.outputs.items():
            lines.append(
                f"  {name}: largest difference {worst['error']:.2e} of values up to {worst['scale']:.3g} "
                f"(tolerance {self.tolerance:.0e} of the largest)"
            )
        return "\n".join([*lines, *(f"  onnxruntime warns: {w}" for w in self.warnings)])

    def table(self) -> str:
        """A row for each output: sizes tried, worst absolute and relative error, where."""
        lines = [ROW.format("output", "sizes", "absolute", "relative", "allowed", "where")]
        for name, worst in self.outputs.items():
            where = (
                f"{tuple(worst['index'])} at {told(self.sizes[worst['case']])}" if worst["index"] is not None else ""
            )
            row = f"{worst['error']:.2e}", f"{worst['relative']:.2e}", f"{self.tolerance:.0e}"
            lines.append(ROW.format(name, worst["sizes"], *row, where or "equal"))
        return "\n".join(lines)

    def add(self, case: int, name: str, want: Array, got: Array) -> None:
        """Notes how far an output is from what the model gives, and a problem where that is too far."""
        blank = {"error": 0.0, "relative": 0.0, "scale": 0.0, "case": 0, "index": None, "sizes": 0}
        worst = self.outputs.setdefault(name, blank)
        worst["sizes"] += 1
        problem = _compared(worst, case, want, got, self.tolerance)
        if problem:
            self.problems.append(f"output {name!r} at {told(self.sizes[case])}: {problem}")


def told(sizes: dict[str, int]) -> str:
    """The sizes in words."""
    return ", ".join(f"{k} {v}" for k, v in sizes.items()) or "fixed sizes"


def _compared(worst: dict[str, Any], case: int, want: Array, got: Array, tolerance: float) -> str:
    if want.shape != got.shape or (want.dtype != got.dtype and want.dtype.kind not in "OUT"):
        return f"the model gives {want.shape} {want.dtype}, the file {got.shape} {got.dtype}"
    if want.size == 0:
        return ""
    errors, scale = differences(want, got)
    index = np.unravel_index(int(np.argmax(errors)), errors.shape)
    error = float(errors[index])
    if (error / max(1.0, scale), scale) > (worst["error"] / max(1.0, worst["scale"]), worst["scale"]):
        place, relative = ([int(i) for i in index], error / (scale or 1.0)) if error else (None, 0.0)
        worst.update(error=error, relative=relative, scale=scale, case=case, index=place)
    limit = tolerance * max(1.0, scale) if is_float(want.dtype) else 0.0
    return "" if error <= limit else (
        f"they differ by {error:.3g} at {tuple(map(int, index))}: the model gives {want[index]!s}, the file "
        f"{got[index]!s}; {limit:.3g} is allowed"
    )  # fmt: skip


def differences(want: Array, got: Array) -> tuple[Array, float]:
    """The absolute difference of each number, infinite where one alone is NaN, and the largest finite value.

    1 where other values, such as strings, differ.
    """
    if want.dtype.kind not in "fiub":
        return (want.astype(np.str_) != got.astype(np.str_)).astype(np.float64), 1.0
    a, b = want.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.array(np.abs(a - b))
    apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    apart[np.isnan(apart)] = np.inf
    return apart, float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
