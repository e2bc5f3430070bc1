"""What a new process does in the cases of saving: load a file, train on, save; or load and predict."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

from graphkit import models


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
