"""The workloads in Keras, on the backend that KERAS_BACKEND names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import keras

from benchmarks.data import Array
from benchmarks.fit_side import FitSide

BACKEND = keras.config.backend()
backend: Any = importlib.import_module(BACKEND)
if BACKEND == "tensorflow":
    threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    backend.config.threading.set_intra_op_parallelism_threads(threads)
    backend.config.threading.set_inter_op_parallelism_threads(threads)


class Side(FitSide):
    """One workload in this process."""

    @staticmethod
    def product(a: Array, b: Array) -> Callable[[], Any]:
        left, right = keras.ops.convert_to_tensor(a), keras.ops.convert_to_tensor(b)
        if BACKEND == "jax":
            return lambda: backend.numpy.matmul(left, right).block_until_ready()
        return lambda: backend.matmul(left, right)

    @staticmethod
    def versions() -> dict[str, str]:
        return {"keras": keras.__version__, BACKEND: backend.__version__}

    @staticmethod
    def libraries() -> list[str]:
        return []
