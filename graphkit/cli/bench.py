"""`graphkit bench`: the figures of a step."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from graphkit.cli.failing import told
from graphkit.cli.saved import AsJson
from graphkit.cli.workloads import built_in, made_up
from graphkit.core.errors import ArgumentError
from graphkit.core.lazy import module
from graphkit.core.version import VERSION
from graphkit.models.profile import Profile
from graphkit.models.saving import load_model
from graphkit.runtime.peak import peak, processor
from graphkit.runtime.threads import available, set_num_threads

ROW = "{:<11}{:<12}{:>6}{:>12}{:>11}{:>12}{:>10}{:>9}{:>12}"
BATCHES = {"mlp": 128, "conv": 64, "lstm": 32, "attention": 32}

Saved = Annotated[Path | None, typer.Argument(help="A model that model.save wrote; four built-in ones without it.")]
Rows = Annotated[int | None, typer.Option(min=1, help="Rows of a batch; 32 for a file.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; as many as there are cores by default.")]
Trace = Annotated[Path | None, typer.Option(help="Write Chrome trace events of one step, for ui.perfetto.dev.")]


def bench(
    model: Saved = None,
    batch: Rows = None,
    length: int = typer.Option(32, min=1, help="The number for each size that the model leaves free."),
    steps: int = typer.Option(20, min=1, help="Steps that are timed."),
    predict: bool = typer.Option(False, "--predict", help="Prediction alone, also of a compiled model."),
    threads: Threads = None,
    trace: Trace = None,
    as_json: AsJson = False,
) -> None:
    """Time a step of a model on this machine, on made-up data: by layer, by op, against the machine's measured peak.

    graphkit bench

    graphkit bench model.gk --batch 64 --trace step.json

    graphkit bench model.gk --predict --json
    """
    with told("bench"):
        if threads is not None:
            set_num_threads(threads)
        found = profiles(model, batch, length, steps, predict, trace)
    here = machine()
    if as_json:
        typer.echo(json.dumps({"machine": here, "models": [profile.to_dict() for profile in found]}))
    else:
        typer.echo(in_words(here, found, model is not None))


def machine() -> dict[str, Any]:
    """The processor, the cores, the versions, BLAS, and the measured peak."""
    blas = [p for p in module("threadpoolctl").threadpool_info() if p["user_api"] == "blas"]
    return {
        "processor": processor(),
        "cores": available(),
        "graphkit": VERSION,
        "numpy": np.__version__,
        "blas": [" ".join(str(p[k]) for k in ("internal_api", "version", "architecture") if p.get(k)) for p in blas],
        "peak": asdict(peak()),
    }


def profiles(
    path: Path | None, batch: int | None, length: int, steps: int, predict: bool, trace: Path | None
) -> list[Profile]:
    """The model of a file, in training where it is compiled and prediction is not asked for; or the four, both ways."""
    if path is None:
        if trace is not None:
            raise ArgumentError("--trace writes the step of one model; give the file of a model too")
        kinds = [False] if predict else [True, False]
        models = [(model, training) for model in built_in() for training in kinds]
    else:
        model = load_model(path)
        models = [(model, model.compiled and not predict)]
    found = []
    for model, training in models:
        x, y = made_up(model, batch or BATCHES.get(model.name if path is None else "", 32), length, training)
        found.append(model.profile(x, y, steps=steps, training=training, trace=trace))
    return found


def in_words(here: dict[str, Any], found: list[Profile], whole: bool) -> str:
    """The machine, then the profile as a whole or a line for each."""
    best = here["peak"]
    lines = [
        f"{here['processor']}, {here['cores']} cores; graphkit {here['graphkit']}, NumPy {here['numpy']}, "
        f"BLAS {', '.join(here['blas']) or 'unknown'}",
        f"peak with {best['threads']} threads: {best['gflops']:.0f} GFLOP/s (float32 product), "
        f"{best['gbytes']:.1f} GB/s (a + b in memory)",
        "",
    ]
    if whole:
        return "\n".join([*lines, *map(str, found)])
    head = ROW.format("model", "step", "batch", "parameters", "ms", "rows/s", "GFLOP/s", "of peak", "plan MB")
    return "\n".join([*lines, head, *map(_line, found)])


def _line(p: Profile) -> str:
    return ROW.format(
        p.model, p.kind, p.batch, f"{p.parameters:,}", f"{p.step_ms:.3f}", f"{p.samples_per_second:,.0f}",
        f"{p.gflops:.1f}", f"{p.gflops / p.peak.gflops:.0%}", f"{p.held.total / 1e6:.1f}",
    )  # fmt: skip
