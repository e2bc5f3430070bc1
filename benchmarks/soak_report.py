"""What came of a soak run: the callers' counts beside the server's own, its memory, and the page."""

from __future__ import annotations

import hashlib
import re
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.report import table

ROOT = Path(__file__).resolve().parents[1]
WARM_UP, FLAT_MB = 0.1, 20.0
#: Statuses that only malformed requests may get.
REFUSALS = ("INVALID_ARGUMENT", "NOT_FOUND")
FIGURES = ("rss_mb", "pss_mb", "children_pss_mb")


@dataclass(frozen=True)
class Settings:
    """How much; `seconds` end it earlier where they are given."""

    requests: int = 1_000_000
    seed: int = 0
    callers: int = 64
    reload_seconds: float = 2.0
    sample_seconds: float = 5.0
    seconds: float | None = None


@dataclass
class Outcome:
    """What happened: `problems` is empty where everything was as it must be."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    server: dict[str, int] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def wrong(self, what: str) -> None:
        """Keep a problem; the first hundred are told in full."""
        self.counts["problem"] += 1
        if len(self.problems) < 100:
            self.problems.append(what)


def scraped(address: str) -> dict[str, int]:
    """The server's counts of requests: accepted, open, calls, ended, and each status."""
    with urllib.request.urlopen(address, timeout=20) as answer:
        text = answer.read().decode()
    counts = {key: int(number) for key, number in re.findall(r"^graphkit_(\S+) (\d+)$", text, re.M)}
    ended = {key[:-2].partition('"')[2]: n for key, n in counts.items() if key.startswith("requests_ended_total")}
    return {**ended, "ended": sum(ended.values()), "accepted": counts["requests_accepted_total"],
            "open": counts["requests_open"], "calls": counts['calls_total{call="ModelInfer"}']}  # fmt: skip


def compare(outcome: Outcome) -> dict[str, Any]:
    """Hold the callers' counts against the server's; what does not fit becomes a problem."""
    counts, server = outcome.counts, outcome.server
    statuses = {name: number for name, number in counts.items() if name.isupper()}
    ended = Counter({name: number for name, number in server.items() if name.isupper()})
    gone = counts["CANCELLED"] + counts["DEADLINE_EXCEEDED"]
    unread = counts["sent"] - server["accepted"]
    for fits, what in (
        (sum(statuses.values()) == counts["sent"], "sent = sum of the callers' statuses"),
        (server["open"] == 0, "nothing is open in the end"),
        (server["accepted"] == server["ended"], "accepted = succeeded + failed + cancelled + timed out"),
        (0 <= unread <= gone, "all that were sent were accepted, less some that were withdrawn or too late"),
        (all(counts[name] == ended[name] for name in REFUSALS), "malformed ones: callers' = server's, by status"),
        (counts["OK"] <= ended["OK"] <= counts["OK"] + gone, "answers: callers' = server's, less given up ones"),
        ({*statuses, *ended} <= {"OK", "CANCELLED", "DEADLINE_EXCEEDED", *REFUSALS}, "no other status"),
    ):
        if not fits:
            outcome.wrong(f"does not hold: {what}: callers {dict(counts)}, server {server}")
    return {"callers": statuses, "server": dict(ended), "never_accepted": unread}


def flatness(outcome: Outcome) -> dict[str, Any]:
    """How far memory moves once a tenth of the requests, or of the time, is through; too far becomes a problem."""
    whole = outcome.samples[-1]
    warm = [one for one in outcome.samples if one["sent"] >= WARM_UP * whole["sent"]]
    moved = {}
    for name in FIGURES:
        values = [one[name] for one in warm]
        moved[name] = {"first": values[0], "last": values[-1], "lowest": min(values), "highest": max(values)}
    for name in FIGURES[:2]:
        if moved[name]["highest"] - moved[name]["lowest"] > FLAT_MB:
            outcome.wrong(f"memory is not flat within {FLAT_MB} MB: {name} {moved[name]}")
    return {"memory": moved, "warm_from_s": warm[0]["t"]}


def head(settings: Settings) -> dict[str, Any]:
    """What the run is of: date, commit, machine, settings."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, text=True,
                            capture_output=True, check=True).stdout.strip()  # fmt: skip
    served = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((ROOT / "serve").glob("*.py")))).hexdigest()
    versions = {name: version(name) for name in ("graphkit", "grpcio", "onnxruntime", "protobuf", "numpy")}
    return {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "commit": commit, "serve_sha256": served,
            "machine": machine.describe(),
            "versions": versions, "settings": asdict(settings)}  # fmt: skip


def page(start: Mapping[str, Any], outcome: Outcome) -> str:
    """The summary as markdown."""
    counts, figures, host, server = outcome.counts, outcome.figures, start["machine"], outcome.server
    names = ["OK", *REFUSALS, "CANCELLED", "DEADLINE_EXCEEDED"]
    rows = [{"": "callers", "requests": f"{counts['sent']:,}", **{n: f"{counts[n]:,}" for n in names}},
            {"": "server", "requests": f"{server['accepted']:,}",
             **{n: f"{server.get(n, 0):,}" for n in names}}]  # fmt: skip
    memory = [{"MB": name, **{k: f"{v:.1f}" for k, v in found.items()}} for name, found in figures["memory"].items()]
    every = start["settings"]["reload_seconds"]
    return "\n\n".join([
        f"# A long run of mixed requests, {start['date']} UTC",
        f"{host['cpu']}, {host['cores']} cores, {host['memory_gb']} GB, {host['system']}; "
        + ", ".join(f"{name} {found}" for name, found in start["versions"].items())
        + f". Commit {start['commit']} (serve/*.py {start['serve_sha256'][:12]}), "
        f"seed {start['settings']['seed']}, {start['settings']['callers']} callers.",
        f"{counts['sent']:,} requests in {figures['seconds']:,.0f} s, "
        f"{counts['sent'] / figures['seconds']:,.0f} a second; {figures['loads']} versions loaded, one every "
        f"{every:g} s; {counts['malformed']:,} malformed, {counts['withdrawn']:,} withdrawn, "
        f"{counts['short of time']:,} with too little time. "
        f"Wrong, lost, doubled or otherwise a problem: {counts['problem']}.",
        table(rows, ["", "requests", *names]),
        "Accepted = succeeded + failed + cancelled + timed out, as the server counts them: "
        f"{server['accepted']:,} = {server['OK']:,} + {sum(server.get(name, 0) for name in REFUSALS):,} + "
        f"{server['CANCELLED']:,} + {server['DEADLINE_EXCEEDED']:,}. {figures['never_accepted']:,} of the callers' "
        "were given up before the server had read them. Those that the server answered and nobody waited for any more "
        "are OK there and CANCELLED or DEADLINE_EXCEEDED with the callers.",
        table(memory, ["MB", "first", "last", "lowest", "highest"]),
        f"Memory of the server (resident, proportional) and of its trial process from {figures['warm_from_s']:.0f} s "
        "on, when a tenth of the requests was through.",
        *(f"- {problem}" for problem in outcome.problems),
    ]) + "\n"  # fmt: skip
