"""The memory that the export of a large model takes: python -m benchmarks.export_memory KIND FILE [verify]

Prints JSON: the bytes of the weights, of the largest one, those that the process held above the loaded model at its
highest, those of the child that checks the file, and the seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import onnx
import psutil

from graphkit import Input, Model, layers

PAUSE = 0.002


def dense() -> Model:
    """24 products of 4096 by 4096: 1.6 GB."""
    x = y = Input((4096,), name="x")
    for number in range(24):
        y = layers.Dense(4096, name=f"dense_{number}")(y)
    return Model(x, y)


def convolution() -> Model:
    """22 convolutions of 1408 channels, whose kernels ONNX wants in another order: 1.6 GB, over an input of 1 by 1."""
    x = y = Input((1, 1, 1408), name="x")
    for number in range(22):
        y = layers.Conv2D(1408, 3, padding="same", name=f"convolution_{number}")(y)
    return Model(x, y)


def recurrent() -> Model:
    """12 LSTMs of 2048 units, whose gates ONNX wants in another order: 1.6 GB."""
    x = y = Input((None, 2048), name="x")
    for number in range(12):
        lstm = layers.LSTM(2048, return_sequences=True, recurrent_initializer="glorot_uniform", name=f"lstm_{number}")
        y = lstm(y)
    return Model(x, y)


class Watch:
    """The highest resident memory of this process and of its children, looked at every 2 ms."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.before = self.own = self._process.memory_info().rss
        self.child = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(PAUSE):
            self.own = max(self.own, self._process.memory_info().rss)
            for child in self._process.children():
                try:
                    self.child = max(self.child, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue


def main(kind: str, path: str, verify: str = "") -> None:
    """Exports once for what is loaded at the first time, then the large model under watch."""
    x = Input((2,))
    warm = Path(path).with_name("warm.onnx")
    Model(x, layers.Dense(2)(x)).export(warm, verify=bool(verify))
    warm.unlink()
    model = {"dense": dense, "convolution": convolution, "recurrent": recurrent}[kind]()
    sizes = [weight.array.nbytes for weight in model.weights]
    started = time.perf_counter()
    with Watch() as watch:
        model.export(path, verify=bool(verify))
    seconds = time.perf_counter() - started
    onnx.checker.check_model(path, full_check=True)
    found = {"weights": sum(sizes), "largest": max(sizes), "above": watch.own - watch.before, "child": watch.child}
    print(json.dumps({"kind": kind, "verify": bool(verify), **found, "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
