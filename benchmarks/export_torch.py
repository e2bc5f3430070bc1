"""The networks of `export_models` in PyTorch, as its users write them, with one argument for each input."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from benchmarks import torch_models


class Autoencoder(torch_models.Autoencoder):
    """Takes the picture, channels last as the others do."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:  # type: ignore[override] # the inputs stand alone
        return super().forward({"picture": picture.permute(0, 3, 1, 2)}).permute(0, 2, 3, 1)


class Tickets(torch_models.Tickets):
    """Takes both texts and the tags."""

    def forward(  # type: ignore[override] # the inputs stand alone
        self, title: torch.Tensor, body: torch.Tensor, tags: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward({"title": title, "body": body, "tags": tags})


class Residual(nn.Module):
    """20 convolutions with batch normalization, and the mean."""

    def __init__(self) -> None:
        super().__init__()
        for number in range(20):
            self.add_module(f"conv_{number}", nn.Conv2d(32 if number else 3, 32, 3, padding=1))
            self.add_module(f"norm_{number}", nn.BatchNorm2d(32, eps=1e-3))

    def normalized(self, x: torch.Tensor, number: int) -> torch.Tensor:
        found: torch.Tensor = self.get_submodule(f"norm_{number}")(self.get_submodule(f"conv_{number}")(x))
        return found

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.normalized(picture.permute(0, 3, 1, 2), 0))
        for block in range(9):
            inner = functional.relu(self.normalized(x, 2 * block + 1))
            x = functional.relu(x + self.normalized(inner, 2 * block + 2))
        return self.normalized(x, 19).mean(dim=(2, 3))


MODULES = {"autoencoder": Autoencoder, "residual": Residual, "tickets": Tickets}
