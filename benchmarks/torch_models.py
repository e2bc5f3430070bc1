"""The workloads in PyTorch, as its users write them; layers that hold weights have the names of the other sides'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.data import HEADS, LENGTH, TOKENS, WIDE, WIDTH, WORDS

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


class Autoencoder(nn.Module):
    """A picture to 16 numbers and back."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3)
        self.conv_3, self.conv_4 = nn.Conv2d(32, 32, 3), nn.Conv2d(32, 16, 3)
        self.back_1, self.back_2 = nn.ConvTranspose2d(1, 16, 3), nn.ConvTranspose2d(16, 32, 3)
        self.back_3, self.back_4 = nn.ConvTranspose2d(32, 16, 3), nn.ConvTranspose2d(16, 1, 3)

    def forward(self, x: Tensors) -> torch.Tensor:
        h = functional.relu(self.conv_2(functional.relu(self.conv_1(x["picture"]))))
        h = functional.max_pool2d(h, 3)
        h = functional.relu(self.conv_4(functional.relu(self.conv_3(h))))
        code = h.amax(dim=(2, 3))
        h = functional.relu(self.back_2(functional.relu(self.back_1(code.view(-1, 1, 4, 4)))))
        h = functional.interpolate(h, scale_factor=3)
        return functional.relu(self.back_4(functional.relu(self.back_3(h))))

    def loss(self, x: Tensors, y: Tensors) -> torch.Tensor:
        return functional.mse_loss(self(x), y["picture"])


class Vae(nn.Module):
    """A picture to a point of the plane and back.

    Where Keras pads an even picture for strides of 2 at its end, PyTorch does so at its start: the same computation on
    the mirrored picture with mirrored kernels.
    """

    mirrored = True
    maps = (7, 7, 64)
    flat = ("hidden", "spread")

    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(1, 32, 3, stride=2, padding=1)
        self.conv_2 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.hidden, self.z_mean, self.z_log_var = nn.Linear(3136, 16), nn.Linear(16, 2), nn.Linear(16, 2)
        self.spread = nn.Linear(2, 3136)
        self.back_1 = nn.ConvTranspose2d(64, 64, 3, stride=2, padding=1, output_padding=1)
        self.back_2 = nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1)
        self.back_3 = nn.ConvTranspose2d(32, 1, 3, padding=1)

    def forward(self, x: Tensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        h = functional.relu(self.conv_2(functional.relu(self.conv_1(x["picture"]))))
        h = functional.relu(self.hidden(h.flatten(1)))
        mean, log_variance = self.z_mean(h), self.z_log_var(h)
        noise = x["noise"] if "noise" in x else torch.randn_like(mean)
        z = mean + torch.exp(0.5 * log_variance) * noise
        h = functional.relu(self.spread(z)).view(-1, 64, 7, 7)
        h = functional.relu(self.back_2(functional.relu(self.back_1(h))))
        return torch.sigmoid(self.back_3(h)), mean, log_variance

    def loss(self, x: Tensors, y: Tensors) -> torch.Tensor:
        drawn, mean, log_variance = self(x)
        likelihood = functional.binary_cross_entropy(drawn, x["picture"], reduction="sum") / len(drawn)
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp())
        return likelihood + divergence.sum(dim=1).mean()


class TokenAndPosition(nn.Module):
    """A learned vector for each token plus a learned vector for its place."""

    places: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(TOKENS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.register_buffer("places", torch.arange(LENGTH), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.token(tokens) + self.place(self.places)
        return found


def encoder_block() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, WIDE, dropout=0.0, batch_first=True)


class Transformer(nn.Module):
    """Two blocks over 64 tokens to two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded = TokenAndPosition()
        self.block_1, self.block_2 = encoder_block(), encoder_block()
        self.label = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensors) -> torch.Tensor:
        logits: torch.Tensor = self.label(self.block_2(self.block_1(self.embedded(x["tokens"]))).mean(dim=1))
        return logits

    def loss(self, x: Tensors, y: Tensors) -> torch.Tensor:
        return functional.cross_entropy(self(x), y["label"])


class Seq2Seq(nn.Module):
    """A block that reads the source, a block that sees the target so far and what was read."""

    causal: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.source_embedded, self.target_embedded = TokenAndPosition(), TokenAndPosition()
        self.encoder = encoder_block()
        self.decoder = nn.TransformerDecoderLayer(WIDTH, HEADS, WIDE, dropout=0.0, batch_first=True)
        self.next = nn.Linear(WIDTH, TOKENS)
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(LENGTH), persistent=False)

    def forward(self, x: Tensors) -> torch.Tensor:
        memory = self.encoder(self.source_embedded(x["source"]))
        h = self.decoder(self.target_embedded(x["target"]), memory, tgt_mask=self.causal, tgt_is_causal=True)
        logits: torch.Tensor = self.next(h)
        return logits

    def loss(self, x: Tensors, y: Tensors) -> torch.Tensor:
        return functional.cross_entropy(self(x).flatten(0, 1), y["next"].flatten())


MODULES: dict[str, Callable[[], Any]] = {
    "mlp": Mlp, "tickets": Tickets, "autoencoder": Autoencoder, "vae": Vae, "transformer": Transformer,
    "seq2seq": Seq2Seq,
}  # fmt: skip
