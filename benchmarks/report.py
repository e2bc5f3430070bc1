"""From the runs' JSON lines to tables: the medians of the rounds' medians, and graphkit's over the best peer's."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.sides import SIDES

Row = dict[str, Any]


def table(rows: Sequence[Row], headings: Sequence[str]) -> str:
    """A markdown table with aligned columns."""
    cells = [list(headings), *([str(row.get(h, "-")) for h in headings] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(headings))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def undisturbed(runs: Sequence[Row]) -> list[Row]:
    """The runs whose figures count: those without disturbance, or all of them if there are none."""
    return [r for r in runs if not r.get("disturbed")] or list(runs)


def summary(runs: Sequence[Row], differences: dict[str, dict[str, float]]) -> list[Row]:
    """One row for each workload: milliseconds of each side, then figures of all sides in their order.

    ratio: graphkit's over the fastest of the others, tuned ones aside. * marks disturbed runs.
    """
    rows = []
    for workload in dict.fromkeys(r["workload"] for r in runs):
        present = _by_side([r for r in runs if r["workload"] == workload])
        medians = {side: statistics.median(r["median_ms"] for r in found) for side, found in present.items()}
        row: Row = {"workload": workload}
        for side, found in present.items():
            row[heading(side)] = f"{medians[side]:.3f}" + "*" * found[0]["disturbed"]
        peers = {side: ms for side, ms in medians.items() if side != "graphkit" and not SIDES[side].tuned}
        if peers and "graphkit" in present:
            best = min(peers, key=peers.__getitem__)
            doubtful = any(present[side][0]["disturbed"] for side in ("graphkit", best))
            row["ratio"] = f"{medians['graphkit'] / medians[best]:.2f}" + "*" * doubtful
        row["spread"] = _all(present, lambda found: f"{_spread(found):.2f}")
        row["rounds"] = _all(present, lambda found: str(len(found)))
        for title, key, form in (
            ("first step s", "first_step_s", ".2f"), ("memory MB", "peak_mb", ".0f"),
            ("others cores", "others_cores", ".2f"), ("GEMM GFLOP/s", "gemm_gflops", ".0f"),
        ):  # fmt: skip
            row[title] = _all(present, lambda found, k=key, f=form: format(statistics.median(r[k] for r in found), f))
        if differences.get(workload):
            row["losses differ by"] = " / ".join(f"{d:.0e}" for d in differences[workload].values())
        rows.append(row)
    return rows


def heading(side: str) -> str:
    """The column of a side's milliseconds."""
    return f"{SIDES[side].title} ms"


def headings(runs: Sequence[Row]) -> list[str]:
    """The columns of the table of these runs."""
    return [
        "workload", *map(heading, _by_side(runs)), "ratio", "spread", "first step s", "memory MB", "rounds",
        "others cores", "GEMM GFLOP/s", "losses differ by",
    ]  # fmt: skip


def _by_side(runs: Sequence[Row]) -> dict[str, list[Row]]:
    sides = {side: [r for r in runs if r["side"] == side] for side in SIDES}
    return {side: undisturbed(found) for side, found in sides.items() if found}


def _spread(runs: Sequence[Row]) -> float:
    medians = [r["median_ms"] for r in runs]
    return float(max(medians) / min(medians))


def _all(sides: dict[str, list[Row]], figure: Any) -> str:
    return " / ".join(figure(found) for found in sides.values())


def page(
    date: str, machine: Row, runs: Sequence[Row], differences: dict[str, dict[str, float]], notes: Sequence[str]
) -> str:
    """The dated markdown page of a step's time."""
    libraries = {r["side"]: r["libraries"] for r in runs}
    parts = [
        *_head("Training", date, machine, runs),
        table(summary(runs, differences), headings(runs)),
        "Milliseconds a training step: the median over the rounds of each round's median step; ratio: graphkit's over "
        "the fastest of the others, tuned ones aside; below 1 is faster. Spread: the largest over the smallest round. "
        f"Figures with a stroke: {' / '.join(SIDES[side].title for side in _by_side(runs))}. "
        "Others: cores kept busy by other processes meanwhile; * marks figures from disturbed runs. Losses: the "
        "largest relative difference to graphkit's over steps 1 to 10.",
        "\n".join(
            f"- {side}: {'; '.join(x) or 'no library of its own that could be seen'}" for side, x in libraries.items()
        ),
        *notes,
    ]
    return "\n\n".join(parts) + "\n"


def first_epoch_page(date: str, machine: Row, runs: Sequence[Row], notes: Sequence[str]) -> str:
    """The dated markdown page of the way to the end of the first epoch."""
    columns = ("side", "seconds", "of it in fit", "fastest", "slowest", "memory MB", "rounds")
    rows = []
    for side, found in _by_side(runs).items():
        seconds = [r["first_epoch_s"] for r in found]
        inside = statistics.median(r["of_it_in_fit_s"] for r in found)
        memory = statistics.median(r["peak_mb"] for r in found)
        figures = [f"{x:.2f}" for x in (statistics.median(seconds), inside, min(seconds), max(seconds))]
        rows.append(dict(zip(columns, (SIDES[side].title, *figures, f"{memory:.0f}", len(found)), strict=True)))
    parts = [
        *_head("To the end of the first epoch", date, machine, runs),
        table(rows, columns),
        "Seconds from the start of the process to the end of mlp's first epoch of 50 batches, the median over the "
        "rounds: imports, data, weights, the model, its compilation and the steps.",
        *notes,
    ]
    return "\n\n".join(parts) + "\n"


def _head(title: str, date: str, machine: Row, runs: Sequence[Row]) -> list[str]:
    versions = {name: v for r in runs for name, v in r["versions"].items()}
    return [
        f"# {title}, {date}",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}; "
        + ", ".join(f"{name} {v}" for name, v in versions.items()),
    ]


def append(path: Path, row: Row) -> None:
    """One JSON line more."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
