"""Runs a model file on prepared inputs, alone: `python runner.py MODEL FEEDS.npz RESULTS.npz`.

It is a process of its own because a file that kills onnxruntime must not kill the trainer. It imports nothing of
graphkit, so that it starts at once. Keys are "<case>/<name>" in both archives.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime


def main(model: str, feeds: str, results: str) -> None:
    """Runs each case and saves its outputs."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(feeds, allow_pickle=False) as archive:
        for key in archive.files:
            case, name = key.split("/", 1)
            cases.setdefault(case, {})[name] = archive[key]
    names = [o.name for o in session.get_outputs()]
    wanted = {i.name for i in session.get_inputs()}
    found = {}
    for case, feed in cases.items():
        print(f"case {case}", flush=True)
        values = session.run(names, {n: a for n, a in feed.items() if n in wanted})
        found.update({f"{case}/{n}": v for n, v in zip(names, values, strict=True)})
    np.savez(results, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
