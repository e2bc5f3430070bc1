"""The sides of a benchmark: their names, what their workers run in, how they are found."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SideOf:
    """How a side is called in the table, and what is written into its workers' environment.

    reference: graphkit's task whose losses it must have. tuned: not as its users write it, so not a peer.
    """

    title: str
    variables: dict[str, str] = field(default_factory=dict)
    reference: str = "losses"
    tuned: bool = False


QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
SIDES = {
    "graphkit": SideOf("graphkit"),
    "torch": SideOf("PyTorch", QUIET),
    "torch-tuned": SideOf("PyTorch tuned", QUIET, tuned=True),
    "keras-tf": SideOf(
        "Keras on TensorFlow", QUIET | {"BENCHMARKS_SIDE": "keras-tf", "KERAS_BACKEND": "tensorflow"}
    ),
    "keras-jax": SideOf(
        "Keras on JAX", QUIET | {"BENCHMARKS_SIDE": "keras-jax", "KERAS_BACKEND": "jax"}, reference="losses_dense"
    ),
}  # fmt: skip


def interpreters(torch: str | None, keras: str | None, jax: str | None, tuned: bool) -> dict[str, str]:
    """The Python of each side that runs; PyTorch's is this one where it has PyTorch and no other is given."""
    here = sys.executable
    torch = torch or (here if importlib.util.find_spec("torch") is not None else None)
    given = {"torch": torch, "torch-tuned": torch if tuned else None, "keras-tf": keras, "keras-jax": jax}
    return {"graphkit": here} | {side: python for side, python in given.items() if python}
