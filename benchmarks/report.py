"""From the runs' JSON lines to a table: for each workload the median of the rounds' medians, and their ratio."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HEADINGS = (
    "workload", "graphkit ms", "PyTorch ms", "ratio", "spread", "first step s", "memory MB", "rounds", "others cores",
    "GEMM GFLOP/s", "losses differ by",
)  # fmt: skip


def table(rows: Sequence[Row], headings: Sequence[str]) -> str:
    """A markdown table with aligned columns."""
    cells = [list(headings), *([str(row.get(h, "-")) for h in headings] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(headings))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def undisturbed(runs: Sequence[Row]) -> list[Row]:
    """The runs whose figures count: those without disturbance, or all of them if there are none."""
    return [r for r in runs if not r["disturbed"]] or list(runs)


def summary(runs: Sequence[Row], differences: dict[str, float]) -> list[Row]:
    """One row for each workload; columns hold graphkit's figure, then PyTorch's. * marks disturbed runs."""
    rows = []
    for workload in dict.fromkeys(r["workload"] for r in runs):
        sides = {
            side: undisturbed([r for r in runs if (r["workload"], r["side"]) == (workload, side)])
            for side in ("graphkit", "torch")
        }
        present = {side: found for side, found in sides.items() if found}
        medians = {side: statistics.median(r["median_ms"] for r in found) for side, found in present.items()}
        row: Row = {"workload": workload}
        for side, heading in (("graphkit", "graphkit ms"), ("torch", "PyTorch ms")):
            if side in present:
                row[heading] = f"{medians[side]:.3f}" + "*" * present[side][0]["disturbed"]
        if len(present) == 2:
            doubtful = any(found[0]["disturbed"] for found in present.values())
            row["ratio"] = f"{medians['graphkit'] / medians['torch']:.2f}" + "*" * doubtful
        row["spread"] = _both(present, lambda found: f"{_spread(found):.2f}")
        row["rounds"] = _both(present, lambda found: str(len(found)))
        for heading, key, form in (
            ("first step s", "first_step_s", ".2f"), ("memory MB", "peak_mb", ".0f"),
            ("others cores", "others_cores", ".2f"), ("GEMM GFLOP/s", "gemm_gflops", ".0f"),
        ):  # fmt: skip
            row[heading] = _both(
                present, lambda found, k=key, f=form: format(statistics.median(r[k] for r in found), f)
            )
        if workload in differences:
            row["losses differ by"] = f"{differences[workload]:.0e}"
        rows.append(row)
    return rows


def _spread(runs: Sequence[Row]) -> float:
    medians = [r["median_ms"] for r in runs]
    return float(max(medians) / min(medians))


def _both(sides: dict[str, list[Row]], figure: Any) -> str:
    return " / ".join(figure(found) for found in sides.values())


def page(date: str, machine: Row, runs: Sequence[Row], differences: dict[str, float], notes: Sequence[str]) -> str:
    """The dated markdown page."""
    versions = {name: v for r in runs for name, v in r["versions"].items()}
    libraries = {r["side"]: r["libraries"] for r in runs}
    parts = [
        f"# Training, {date}",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}; "
        + ", ".join(f"{name} {v}" for name, v in versions.items()),
        table(summary(runs, differences), HEADINGS),
        "Milliseconds a training step: the median over the rounds of each round's median step; ratio: graphkit's over "
        "PyTorch's, below 1 is faster. Spread: the largest over the smallest round. Pairs are graphkit / PyTorch. "
        "Others: cores kept busy by other processes meanwhile; * marks figures from disturbed runs. Losses: the "
        "largest relative difference over steps 1 to 10.",
        "\n".join(
            f"- {side}: {'; '.join(x) or 'no library of its own that could be seen'}" for side, x in libraries.items()
        ),
        *notes,
    ]
    return "\n\n".join(parts) + "\n"


def append(path: Path, row: Row) -> None:
    """One JSON line more."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
