"""An export in a process of its own that is killed at the n-th thing it does to a file or a process; 0: never.

`python -m tests.export.interrupted PATH NUMBER AT` writes the model of that number to PATH and prints how many things
it did.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from graphkit import Input, Model, layers

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


def model_of(number: int) -> Model:
    """A model whose weights are all 0.01 times the number."""
    x = Input((3,), name="x")
    model = Model(x, layers.Dense(2, name="y")(layers.Dense(5, name="h")(x)))
    model.set_weights([np.full(w.shape, number / 100) for w in model.get_weights()])
    return model


def main(path: str, number: str, at: str) -> None:
    """Exports with a hook that counts, and kills."""
    folder, done = str(Path(path).parent), 0
    model = model_of(int(number))

    def hook(event: str, args: Any) -> None:
        nonlocal done
        if event == "subprocess.Popen" or (event in EVENTS and any(folder in str(a) for a in args)):
            done += 1
            if done == int(at):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    model.export(path)
    print(done)


if __name__ == "__main__":
    main(*sys.argv[1:])
