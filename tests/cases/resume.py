"""What a new process does in the cases of saving: load a file, train on, save; or load and predict."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

from graphkit import models

ROOT = Path(__file__).parents[2]


def elsewhere(task: str, folder: Path) -> None:
    """Runs tests/cases/resume.py in a process of its own."""
    command = [sys.executable, "-m", "tests.cases.resume", task, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def main(task: str, folder: Path) -> None:
    """Loads start.gk; "train": more steps on steps.npz, saved as end.gk; "predict": x.npy, saved as y.npy."""
    model = models.load_model(folder / "start.gk")
    if task == "predict":
        np.save(folder / "y.npy", model.predict(np.load(folder / "x.npy")))
        return
    with np.load(folder / "steps.npz") as data:
        for x, y in zip(data["x"], data["y"], strict=True):
            model.train_on_batch(x, y)
    model.save(folder / "end.gk")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(sys.argv[1], Path(sys.argv[2]))
