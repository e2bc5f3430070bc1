"""Activation functions by name. Each is a formula of `graphkit.ops`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError


def linear(x: Any) -> Any:
    """x."""
    return x


def gelu(x: Any, approximate: bool = False) -> Any:
    """x Phi(x), Phi the normal distribution; with `approximate`, its tanh form, which is the default of `ops.gelu`."""
    return ops.gelu(x, approximate)


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "linear": linear,
    "relu": ops.clipped_relu,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "softmax": ops.softmax,
    "log_softmax": ops.log_softmax,
    "softplus": ops.softplus,
    "elu": ops.elu,
    "selu": ops.selu,
    "gelu": gelu,
    "silu": ops.silu,
    "swish": ops.silu,
    "leaky_relu": ops.leaky_relu,
    "tanh_shrink": ops.tanh_shrink,
    "relu6": ops.relu6,
    "hard_sigmoid": ops.hard_sigmoid,
    "log_sigmoid": ops.log_sigmoid,
    "softsign": ops.softsign,
    "exponential": ops.exp,
    "hard_tanh": ops.hard_tanh,
    "hard_silu": ops.hard_silu,
    "hard_swish": ops.hard_silu,
    "hard_shrink": ops.hard_shrink,
    "soft_shrink": ops.soft_shrink,
    "sparse_plus": ops.sparse_plus,
    "sparse_sigmoid": ops.sparse_sigmoid,
    "sparsemax": ops.sparsemax,
    "mish": ops.mish,
    "squareplus": ops.squareplus,
    "celu": ops.celu,
    "glu": ops.glu,
    "threshold": ops.threshold,
}


def get(identifier: Any) -> Callable[..., Any]:
    """A function from a name, a function or None (linear). ArgumentError lists near names."""
    if identifier is None:
        return linear
    if callable(identifier):
        return identifier  # type: ignore[no-any-return] # the person's own function
    if identifier in ACTIVATIONS:
        return ACTIVATIONS[identifier]
    near = difflib.get_close_matches(str(identifier), ACTIVATIONS, 3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(sorted(ACTIVATIONS))}"
    raise ArgumentError(f"unknown activation {identifier!r}; {hint}")
