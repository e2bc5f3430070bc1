"""The workloads in PyTorch: eager, default settings, the batch gathered from resident tensors.

With `exact` the second bias of an LSTM is not trained and the update is `keras_rules`'; the timed form trains it, as
PyTorch does. `Tuned` is what one who measures would run: one resident batch, channels last where there are pictures,
the fused Adam.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import keras_rules, machine
from benchmarks.data import Array, Arrays, Workload, order
from benchmarks.recorder import Ticked
from benchmarks.torch_models import MODULES, Tensors
from benchmarks.torch_weights import copy_weights

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adam": lambda parameters, **more: torch.optim.Adam(parameters, lr=1e-3, eps=1e-7, **more),
    "rmsprop": lambda parameters, **more: torch.optim.RMSprop(parameters, lr=1e-3, alpha=0.9, eps=1e-7, **more),
}


def _trained_once(module: torch.nn.Module) -> int:
    """Parameters without the second biases of LSTMs."""
    return sum(p.numel() for name, p in module.named_parameters() if "bias_hh" not in name)


class Side:
    """One workload in this process."""

    fused: tuple[str, ...] = ()
    layout = torch.contiguous_format

    def __init__(self, workload: Workload, weights: Arrays, exact: bool = False) -> None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
        torch.manual_seed(0)
        self.workload = workload
        self.module = MODULES[workload.name]()
        if _trained_once(self.module) != workload.parameters:
            raise SystemExit(f"{workload.name}: {_trained_once(self.module)} parameters, not {workload.parameters}")
        copy_weights(self.module, weights)
        self.module.to(memory_format=self.layout)
        if exact:
            keras_rules.prepare(self.module)
        make = keras_rules.RULES if exact else OPTIMIZERS
        options = {"fused": True} if workload.optimizer in self.fused and not exact else {}
        self.optimizer = make[workload.optimizer]([p for p in self.module.parameters() if p.requires_grad], **options)

    def tensors(self, arrays: Arrays) -> Tensors:
        """Channels first, class numbers and tokens int64."""
        found = {}
        for name, array in arrays.items():
            tensor = torch.from_numpy(array)
            if tensor.ndim == 4:
                tensor = tensor.permute(0, 3, 1, 2)
                tensor = tensor.flip(2, 3) if getattr(self.module, "mirrored", False) else tensor
                tensor = tensor.contiguous(memory_format=self.layout)
            found[name] = tensor.long() if tensor.dtype == torch.int32 else tensor
        return found

    def step(self, x: Tensors, y: Tensors) -> float:
        """Forward, backward, update."""
        self.optimizer.zero_grad()
        loss = self.module.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return float(loss.item())

    def losses(self, x: Arrays, y: Arrays, steps: int) -> list[float]:
        """The loss of each of the first steps, on batches in the order of the rows."""
        tensors, size = [self.tensors(part) for part in (x, y)], self.workload.batch
        return [self.step(*_rows(tensors, slice(i * size, (i + 1) * size))) for i in range(steps)]

    def train(self, x: Arrays, y: Arrays, recorder: Ticked) -> None:
        """The usual loop until the recorder has enough."""
        tensors, size = [self.tensors(part) for part in (x, y)], self.workload.batch
        recorder.start()
        epoch = 0
        while True:
            rows = torch.from_numpy(order(self.workload.rows, epoch))
            for start in range(0, self.workload.rows, size):
                if recorder.tick(self.step(*_rows(tensors, rows[start : start + size]))):
                    return
            epoch += 1

    @staticmethod
    def product(a: Array, b: Array) -> Callable[[], Any]:
        """A call that multiplies two matrices the way this side does."""
        left, right = torch.from_numpy(a), torch.from_numpy(b)
        return lambda: torch.mm(left, right)

    @staticmethod
    def versions() -> dict[str, str]:
        """What ran."""
        return {"torch": torch.__version__}

    @staticmethod
    def libraries() -> list[str]:
        """The BLAS and thread libraries that are loaded."""
        return machine.libraries()


class Tuned(Side):
    """As one who measures runs it."""

    fused = ("adam",)
    layout = torch.channels_last

    def train(self, x: Arrays, y: Arrays, recorder: Ticked) -> None:
        """The first batch again and again, which is gathered once."""
        batch = _rows([self.tensors(part) for part in (x, y)], slice(self.workload.batch))
        recorder.start()
        while not recorder.tick(self.step(*batch)):
            pass


def _rows(tensors: list[Tensors], rows: Any) -> list[Tensors]:
    return [{name: t[rows] for name, t in part.items()} for part in tensors]
