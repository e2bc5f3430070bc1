"""An export that is killed before its n-th change of the target's folder: `python killed.py FOLDER N`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphkit import Input, Model, layers


def model(scale: float) -> Model:
    """y = scale * x, its weights of a size that lies on pages."""
    x = Input((2,), name="x")
    y = layers.Dense(2, use_bias=False, name="inner", kernel_initializer="identity")(x)
    made = Model(x, layers.Dense(2, use_bias=False, name="outer", kernel_initializer="identity")(y))
    made.get_layer("outer").set_weights([scale * made.get_layer("outer").get_weights()[0]])
    made.get_layer("inner").set_weights([scale * made.get_layer("inner").get_weights()[0]])
    return made


def main(folder: Path, count: int) -> None:
    """Exports with other weights and signatures than `test_signatures_killed` has put there."""
    left = [count]

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **kwargs)

        return changed

    os.replace, Path.unlink = dying(os.replace), dying(Path.unlink)  # type: ignore[assignment, method-assign] # as said
    model(3.0).export(
        folder / "model.onnx", verify=False, signatures={"half": ("x", "inner"), "new": ("inner", "outer")}
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
