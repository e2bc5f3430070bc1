"""The workloads in PyTorch: eager, default settings, the batch gathered from resident tensors.

Weights come from graphkit's. An LSTM's gates stand in the same order (i, f, g, o); PyTorch has two biases, of which
the second starts at zero. With `exact` the second bias is not trained and the update is `keras_rules`'; the timed
form trains it, as PyTorch does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks import keras_rules
from benchmarks.data import WORDS, Array, Arrays, Workload, order
from benchmarks.recorder import Recorder

Tensors = dict[str, torch.Tensor]


class Mlp(nn.Module):
    """784-512-256-10."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.label = nn.Linear(784, 512), nn.Linear(512, 256), nn.Linear(256, 10)

    def forward(self, x: Tensors) -> torch.Tensor:
        hidden = functional.relu(self.first(x["x"]))
        logits: torch.Tensor = self.label(functional.relu(self.second(hidden)))
        return logits

    def loss(self, x: Tensors, y: Tensors) -> torch.Tensor:
        return functional.cross_entropy(self(x), y["label"])


class Tickets(nn.Module):
    """Two texts and tags to two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.title_words, self.body_words = nn.Embedding(WORDS, 64), nn.Embedding(WORDS, 64)
        self.title_lstm = nn.LSTM(64, 128, batch_first=True)
        self.body_lstm = nn.LSTM(64, 32, batch_first=True)
        self.priority, self.department = nn.Linear(172, 1), nn.Linear(172, 4)

    def forward(self, x: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        _, (title, _) = self.title_lstm(self.title_words(x["title"]))
        _, (body, _) = self.body_lstm(self.body_words(x["body"]))
        joined = torch.cat([title[0], body[0], x["tags"]], dim=1)
        return self.priority(joined), self.department(joined)

    def loss(self, x: Tensors, y: Tensors) -> torch.Tensor:
        priority, department = self(x)
        first = functional.binary_cross_entropy_with_logits(priority, y["priority"])
        return first + 0.2 * functional.cross_entropy(department, y["department"])


MODULES: dict[str, Callable[[], nn.Module]] = {"mlp": Mlp, "tickets": Tickets}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, eps=1e-7),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3, alpha=0.9, eps=1e-7),
}


LAYERS: dict[type[nn.Module], dict[str, str]] = {
    nn.Embedding: {"weight": "embeddings"},
    nn.Linear: {"weight": "kernel", "bias": "bias"},
    nn.LSTM: {"weight_ih_l0": "kernel", "weight_hh_l0": "recurrent_kernel", "bias_ih_l0": "bias"},
}


@torch.no_grad()
def copy_weights(module: nn.Module, weights: Arrays) -> None:
    """Gives each layer the arrays of the graphkit layer that has its name, kernels transposed; other biases 0."""
    for name, layer in module.named_children():
        for own, parameter in layer.named_parameters():
            given = LAYERS[type(layer)].get(own)
            if given is None:
                parameter.zero_()
            else:
                array = torch.from_numpy(weights[f"{name}/{given}"])
                parameter.copy_(array.T if "kernel" in given else array)


def _trained_once(module: nn.Module) -> int:
    """Parameters without the second biases of LSTMs."""
    return sum(p.numel() for name, p in module.named_parameters() if "bias_hh" not in name)


class Side:
    """One workload in this process."""

    def __init__(self, workload: Workload, weights: Arrays, exact: bool = False) -> None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
        self.workload = workload
        self.module: Any = MODULES[workload.name]()
        if _trained_once(self.module) != workload.parameters:
            raise SystemExit(f"{workload.name}: {_trained_once(self.module)} parameters, not {workload.parameters}")
        copy_weights(self.module, weights)
        if exact:
            keras_rules.prepare(self.module)
        make = keras_rules.RULES if exact else OPTIMIZERS
        self.optimizer = make[workload.optimizer]([p for p in self.module.parameters() if p.requires_grad])

    def _step(self, tensors: list[Tensors], rows: Any) -> float:
        batch_x, batch_y = ({name: t[rows] for name, t in part.items()} for part in tensors)
        self.optimizer.zero_grad()
        loss = self.module.loss(batch_x, batch_y)
        loss.backward()
        self.optimizer.step()
        return float(loss.item())

    def losses(self, x: Arrays, y: Arrays, steps: int) -> list[float]:
        """The loss of each of the first steps, on batches in the order of the rows."""
        tensors, size = [_tensors(part) for part in (x, y)], self.workload.batch
        return [self._step(tensors, slice(i * size, (i + 1) * size)) for i in range(steps)]

    def train(self, x: Arrays, y: Arrays, recorder: Recorder) -> None:
        """The usual loop until the recorder has enough."""
        tensors, size = [_tensors(part) for part in (x, y)], self.workload.batch
        recorder.start()
        epoch = 0
        while True:
            rows = torch.from_numpy(order(self.workload.rows, epoch))
            for start in range(0, self.workload.rows, size):
                if recorder.tick(self._step(tensors, rows[start : start + size])):
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


def _tensors(arrays: Arrays) -> Tensors:
    return {name: torch.from_numpy(a) for name, a in arrays.items()}
