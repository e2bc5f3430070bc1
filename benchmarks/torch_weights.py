"""graphkit's weights as PyTorch lays them out.

Dense kernels are transposed; convolutions' (h, w, in, out) becomes (out, in, h, w), transposed convolutions' (h, w,
out, in) becomes (in, out, h, w); an LSTM's gates stand in the same order (i, f, g, o), of PyTorch's two biases the
second starts at zero; the heads' query, key and value kernels (n, heads, dim) stand one on the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.data import Array, Arrays

NAMES = {
    ".self_attn": "_attention_1", ".multihead_attn": "_attention_2", ".linear1": "_wide", ".linear2": "_narrow",
    ".norm": "_norm_", ".": "/",
}  # fmt: skip
LAYERS: dict[type[nn.Module], dict[str, str]] = {
    nn.Embedding: {"weight": "embeddings"},
    nn.Linear: {"weight": "kernel", "bias": "bias"},
    nn.Conv2d: {"weight": "kernel", "bias": "bias"},
    nn.ConvTranspose2d: {"weight": "kernel", "bias": "bias"},
    nn.LayerNorm: {"weight": "gamma", "bias": "beta"},
    nn.BatchNorm2d: {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
    nn.LSTM: {"weight_ih_l0": "kernel", "weight_hh_l0": "recurrent_kernel", "bias_ih_l0": "bias"},
}


def copy_weights(module: Any, weights: Arrays) -> None:
    """Gives each layer the arrays of graphkit's layer of that name; each must be used, and none may be missing."""
    left, found = dict(weights), {}
    for place, layer in module.named_modules():
        name = place
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        own = {key.removeprefix(f"{name}/"): left.pop(key) for key in list(left) if key.startswith(f"{name}/")}
        if type(layer) in LAYERS:
            own = {theirs: _laid_out(own[ours], ours) for theirs, ours in LAYERS[type(layer)].items()}
        elif isinstance(layer, nn.MultiheadAttention):
            own = _attention(own)
        else:
            left |= {f"{name}/{key}": array for key, array in own.items()}
            continue
        if isinstance(layer, nn.LSTM):
            own["bias_hh_l0"] = np.zeros_like(own["bias_ih_l0"])
        found |= {f"{place}.{key}": array for key, array in own.items()}
    if left:
        raise SystemExit(f"{type(module).__name__} has no place for {', '.join(left)}")
    if getattr(module, "mirrored", False):
        _mirror(module, found)
    module.load_state_dict({key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in found.items()})


def _laid_out(array: Array, name: str) -> Array:
    if "kernel" not in name:
        return array
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _attention(own: Arrays) -> Arrays:
    kernels = [own[f"{part}/kernel"] for part in ("query", "key", "value")]
    out = own["attention_output/kernel"]
    return {
        "in_proj_weight": np.concatenate([k.reshape(len(k), -1).T for k in kernels]),
        "in_proj_bias": np.concatenate([own[f"{part}/bias"].ravel() for part in ("query", "key", "value")]),
        "out_proj.weight": out.reshape(-1, out.shape[-1]).T,
        "out_proj.bias": own["attention_output/bias"],
    }


def _mirror(module: Any, found: Arrays) -> None:
    """Kernels mirrored; what the layers at the flat end of the maps hold follows the order (c, h, w), mirrored."""
    for key, array in found.items():
        if array.ndim == 4:
            found[key] = array[:, :, ::-1, ::-1]
    places = np.arange(np.prod(module.maps)).reshape(module.maps)[::-1, ::-1].transpose(2, 0, 1).ravel()
    reads, writes = module.flat
    found[f"{reads}.weight"] = found[f"{reads}.weight"][:, places]
    found |= {f"{writes}.{key}": found[f"{writes}.{key}"][places] for key in ("weight", "bias")}
