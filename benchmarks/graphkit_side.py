"""The workloads in graphkit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import numpy as np

import graphkit
from benchmarks import machine
from benchmarks.data import Array, Arrays, order
from benchmarks.fit_side import FitSide
from benchmarks.recorder import Ticked
from graphkit import ops
from graphkit.train import adaptive, source


class Side(FitSide):
    """One workload in this process."""

    def train(self, x: Arrays, y: Arrays, recorder: Ticked) -> None:
        """`fit` with the order of the rows that PyTorch takes."""
        with patch.object(source, "shuffled", lambda rows, seed, epoch: order(rows, epoch)):
            super().train(x, y, recorder)

    @staticmethod
    def squares_of_sums() -> AbstractContextManager[Any]:
        """Optimizers square what all occurrences of a row give together, which is what Keras does on JAX."""
        return patch.object(adaptive, "squared_by_occurrence", ops.square)

    @staticmethod
    def product(a: Array, b: Array) -> Callable[[], Any]:
        out = np.empty((a.shape[0], b.shape[1]), a.dtype)
        return lambda: np.matmul(a, b, out=out)

    @staticmethod
    def versions() -> dict[str, str]:
        return {"graphkit": graphkit.__version__, "numpy": np.__version__}

    @staticmethod
    def libraries() -> list[str]:
        return machine.libraries()
