"""Activation functions by name. Each is a formula of `graphkit.ops`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError


def linear(x: Any) -> Any:
    """x"""
    return x


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": linear,
    "relu": ops.relu,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "softmax": ops.softmax,
    "log_softmax": ops.log_softmax,
    "softplus": ops.softplus,
    "elu": ops.elu,
    "selu": ops.selu,
    "gelu": ops.gelu,
    "silu": ops.silu,
    "swish": ops.silu,
    "leaky_relu": ops.leaky_relu,
    "tanh_shrink": ops.tanh_shrink,
    "relu6": ops.relu6,
    "hard_sigmoid": ops.hard_sigmoid,
    "log_sigmoid": ops.log_sigmoid,
}


def get(identifier: Any) -> Callable[[Any], Any]:
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
