"""A profile as tables, as plain figures and as a trace."""

from __future__ import annotations

import html
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from graphkit.core.errors import ArgumentError
from graphkit.core.files import write_whole
from graphkit.runtime.arena import Held
from graphkit.runtime.peak import Peak

Event = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What some calls take of a step. ms: on the clock; calls that run at the same time share it, so rows add up.

    part: "forward", "gradient", or "" outside the layers. calls: of ops, whatever pieces they run in. share: of the
    timed step. flops, nbytes: operations, and bytes read and written. of_peak: the least time that so much takes on
    this machine over the time it took; above 1 where what it reads lies in a cache.
    """

    layer: str = ""
    part: str = ""
    op: str = ""
    shapes: str = ""
    calls: int = 0
    ms: float = 0.0
    share: float = 0.0
    flops: float = 0.0
    nbytes: float = 0.0
    of_peak: float = 0.0

    @property
    def gflops(self) -> float:
        """10^9 operations a second."""
        return self.flops / self.ms / 1e6 if self.ms else 0.0

    @property
    def gbytes(self) -> float:
        """10^9 bytes a second."""
        return self.nbytes / self.ms / 1e6 if self.ms else 0.0


@dataclass(frozen=True)
class Profile:
    """A profiled step; print it. `rows` has a row for each layer, op and shapes, in the order of their first calls.

    step_ms: a step without timers, the median. timed_ms: with them, the mean of the faster half. weight_bytes: of
    the model; slot_bytes: of the optimizer; held: of the plan. The first `fit` makes the last two: `grown_bytes`.
    """

    model: str
    kind: str
    batch: int
    steps: int
    step_ms: float
    timed_ms: float
    parameters: int
    weight_bytes: int
    slot_bytes: int
    held: Held
    peak: Peak
    rows: list[Row]
    events: list[Event] = field(repr=False)

    @property
    def samples_per_second(self) -> float:
        """Rows of the batch over the time of a step without timers."""
        return 1e3 * self.batch / self.step_ms

    @property
    def gflops(self) -> float:
        """10^9 operations a second of a step without timers."""
        return sum(row.flops for row in self.rows) / self.step_ms / 1e6

    @property
    def grown_bytes(self) -> int:
        """What the process grows by when it first takes such a step: the plan's memory and the optimizer's slots."""
        return self.slot_bytes + self.held.total

    def by(self, *keys: str) -> list[Row]:
        """The rows added up by "layer", "part", "op", "shapes", or several of them."""
        if not keys or not set(keys) <= {"layer", "part", "op", "shapes"}:
            raise ArgumentError(f"a profile adds up by 'layer', 'part', 'op' and 'shapes', got {keys}")
        groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[tuple(getattr(row, key) for key in keys)].append(row)
        return [added(rows, self.peak, **dict(zip(keys, key, strict=True))) for key, rows in groups.items()]

    def table(self, *keys: str, most: int | None = None) -> str:
        """The rows added up by these keys as text, the longest first; the `most` longest."""
        rows = sorted(self.by(*keys), key=lambda row: -row.ms)[:most]
        head = (*keys, "calls", "ms", "share", "GFLOP/s", "GB/s", "of peak")
        cells = [(*(getattr(r, k) for k in keys), f"{r.calls or ''}", *_figures(r), _percent(r.of_peak)) for r in rows]
        return _aligned([head, *cells], len(keys))

    def _layers(self) -> str:
        """The table by layer, in the order of the model."""
        back = {row.layer: row.ms for row in self.by("layer", "part") if row.part == "gradient"}
        head = ("layer", "ms", "of it gradient", "share", "GFLOP/s", "GB/s")
        cells = []
        for row in sorted(self.by("layer"), key=lambda r: r.layer.startswith("(")):
            ms, *others = _figures(row)
            cells.append((row.layer, ms, f"{back[row.layer]:.3f}" if row.layer in back else "", *others))
        return _aligned([head, *cells], 1)

    def __str__(self) -> str:
        p, held = self.peak, self.held
        return "\n".join([
            f"{self.model}: a {self.kind} step of {self.batch} rows takes {self.step_ms:.3f} ms "
            f"({self.samples_per_second:,.0f} rows/s), with each call timed {self.timed_ms:.3f}",
            f"{self.gflops:.1f} GFLOP/s, {self.gflops / p.gflops:.1%} of the peak; threads {p.threads}, parameters "
            f"{self.parameters:,}",
            f"memory: weights {_mb(self.weight_bytes)}, and {_mb(self.grown_bytes)} beside them: slots "
            f"{_mb(self.slot_bytes)}, values {_mb(held.values)} (of them {_mb(held.waiting)} wait for the gradient), "
            f"batch {_mb(held.batch)}, constants {_mb(held.constants)}, updates {_mb(held.updates)}, graph and calls "
            f"{_mb(held.objects)}",
            f"peak with {p.threads} threads, measured: {p.gflops:.0f} GFLOP/s (float32 product), {p.gbytes:.1f} GB/s "
            "(a + b in memory)", "", self._layers(), "", self.table("op"),
        ])  # fmt: skip

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_dict(self) -> dict[str, Any]:
        """All figures in plain types, for JSON: the fields, and the rows added up as `layers` and `ops`."""
        apart = ("rows", "events", "peak", "held", "weight_bytes", "slot_bytes")
        known = {k: v for k, v in vars(self).items() if k not in apart}
        groups = {"layers": self.by("layer"), "ops": self.by("op"), "rows": self.rows}
        rows = {
            name: [asdict(r) | {"gflops": r.gflops, "gbytes": r.gbytes} for r in group]
            for name, group in groups.items()
        }
        rates = {"samples_per_second": self.samples_per_second, "gflops": self.gflops}
        memory = {"weights": self.weight_bytes, "slots": self.slot_bytes, **asdict(self.held)}
        memory["grown"] = self.grown_bytes
        return {**known, **rates, "memory": memory, "peak": asdict(self.peak), **rows}

    def save_trace(self, path: Any) -> Path:
        """Writes one step as Chrome trace events, an event a call, a lane a thread: for ui.perfetto.dev."""
        text = json.dumps({"traceEvents": self.events, "displayTimeUnit": "ms"})
        return write_whole(path, lambda file: file.write(text.encode()))


def added(rows: Sequence[Row], best: Peak, **keys: str) -> Row:
    """One row for several, under these keys."""
    names = ("calls", "ms", "share", "flops", "nbytes")
    total = Row(**keys, **{name: sum(getattr(row, name) for row in rows) for name in names})  # type: ignore[arg-type] # sums of numbers
    least = 1e3 * best.seconds(total.flops, total.nbytes)
    return replace(total, of_peak=least / total.ms if total.ms else 0.0)


def _figures(row: Row) -> tuple[str, str, str, str]:
    rate, moved = (f"{x:.1f}" if x else "" for x in (row.gflops, row.gbytes))
    return f"{row.ms:.3f}", f"{row.share:.1%}", rate, moved


def _percent(share: float) -> str:
    return f"{share:.0%}" if share else ""


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _aligned(rows: Sequence[tuple[str, ...]], left: int) -> str:
    """Columns under each other, the first `left` of them to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
