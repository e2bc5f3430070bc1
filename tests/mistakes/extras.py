"""Mistakes with extras that are not installed: each in a process in which the package cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from tests.mistakes.row import Mistake

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == {package!r}:
            raise ModuleNotFoundError('No module named ' + repr(name), name=name)
sys.meta_path.insert(0, Missing())
import numpy as np
import graphkit
from graphkit import callbacks, errors, Input, Model, layers
tags = Input((5,), name='tags')
model = Model(tags, layers.Dense(1, name='score')(tags))
model.compile('sgd', 'mse')
try:
    {code}
except errors.StateError as error:
    sys.exit(str(error))
"""


def without(package: str, code: str) -> Any:
    """Runs the code in the scene's folder without a package; what it ends with is the error."""

    def run(scene: Any) -> None:
        script = WITHOUT.format(package=package, code=code)
        ended = subprocess.run([sys.executable, "-c", script], cwd=scene.folder, capture_output=True, text=True)
        raise SystemExit(ended.stderr)

    return run


PLOT = "model.fit(np.ones((3, 5)), np.ones((3, 1)), verbose=0).plot('curves.png')"

BOARD = "model.fit(np.ones((3, 5)), np.ones((3, 1)), verbose=0, callbacks=[callbacks.TensorBoard('logs')])"

EXTRAS = [
    Mistake("curves without matplotlib", without("matplotlib", PLOT), SystemExit,
            "'matplotlib.figure'", "this needs", "not installed", "pip install graphkit[plot]"),
    Mistake("an export without onnx", without("onnx", "model.export('model.onnx')"), SystemExit,
            "'onnx'", "this needs", "not installed", "pip install onnx"),
    Mistake("a saved model without safetensors", without("safetensors", "model.save('model.gk')"), SystemExit,
            "'safetensors.numpy'", "this needs", "not installed", "pip install safetensors"),
    Mistake("a board without tensorboard", without("tensorboard", BOARD), SystemExit,
            "'tensorboard", "this needs", "not installed", "pip install graphkit[tensorboard]"),
]  # fmt: skip
