"""One step of each recurrence as a formula, and the loop that takes it over a sequence.

What the fused kernels' gradients of gradients and their ONNX forms are taken from, and what runs where no kernel has
the activations that were asked for. Gates stand in Keras's order. `turn` is the activation of the gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphkit.core.op import spec_of
from graphkit.ops.control import scan
from graphkit.ops.elementwise import where
from graphkit.ops.linalg import matmul
from graphkit.ops.nn import sigmoid, tanh
from graphkit.ops.shape import reshape, transpose

Activation = Callable[[Any], Any]
Cell = Callable[[Any, Sequence[Any], Sequence[Any]], tuple[Any, ...]]


def gated(activation: Activation = tanh, turn: Activation = sigmoid) -> Callable[[Any, Any], tuple[Any, Any]]:
    """i, f, o = turn(z), g = activation(z), the quarters of z along its last axis;  c = f c + i g;  h = o activation(c)

    z (..., 4u), c (..., u) -> h and c
    """

    def gates(z: Any, c: Any) -> tuple[Any, Any]:
        units = _units(z, -1) // 4
        i, f, g, o = (z[..., k * units : (k + 1) * units] for k in range(4))
        c = turn(f) * c + turn(i) * activation(g)
        return turn(o) * activation(c), c

    return gates


def lstm_cell(activation: Activation = tanh, turn: Activation = sigmoid) -> Cell:
    """`gated` of z = x W + h U + b

    (b, f), (f, 4u), (u, 4u), (4u,), h and c (b, u) -> h and c
    """
    gates = gated(activation, turn)

    def step(x: Any, weights: Sequence[Any], states: Sequence[Any]) -> tuple[Any, ...]:
        kernel, recurrent, bias = weights
        h, c = states
        return gates(matmul(x, kernel) + matmul(h, recurrent) + bias, c)

    return step


def gru_cell(activation: Activation = tanh, turn: Activation = sigmoid, reset_after: bool = True) -> Cell:
    """z, r = turn(x W + h U + b), n = activation(x W + r (h U + b') + b);  h = z h + (1 - z) n

    With reset_after the bias is (2, 3u), b and b'; without it is (3u,), and n = activation(x W + (r h) U + b).
    (b, f), (f, 3u), (u, 3u), bias, h (b, u) -> h
    """

    def step(x: Any, weights: Sequence[Any], states: Sequence[Any]) -> tuple[Any, ...]:
        kernel, recurrent, bias = weights
        (h,) = states
        both = 2 * _units(recurrent)
        given = matmul(x, kernel) + (bias[0] if reset_after else bias)
        if reset_after:
            kept = matmul(h, recurrent) + bias[1]
            gates = turn(given[:, :both] + kept[:, :both])
        else:
            gates = turn(given[:, :both] + matmul(h, recurrent[:, :both]))
        z, r = gates[:, : both // 2], gates[:, both // 2 :]
        inner = r * kept[:, both:] if reset_after else matmul(r * h, recurrent[:, both:])
        return (z * h + (1.0 - z) * activation(given[:, both:] + inner),)

    return step


def simple_cell(activation: Activation = tanh) -> Cell:
    """h = activation(x W + h U + b)    (b, f), (f, u), (u, u), (u,), h (b, u) -> h"""

    def step(x: Any, weights: Sequence[Any], states: Sequence[Any]) -> tuple[Any, ...]:
        kernel, recurrent, bias = weights
        return (activation(matmul(x, kernel) + matmul(states[0], recurrent) + bias),)

    return step


def over_steps(
    cell: Cell, x: Any, weights: Sequence[Any], states: Sequence[Any], mask: Any = None, sequences: bool = False,
    output: int = 0,
) -> tuple[Any, ...]:  # fmt: skip
    """The cell over axis 1 of x: (sequence, *states) where `sequences`, else the last states.

    `output` is the place among the states of what is given at each step.
    A step that the mask leaves out keeps the states and repeats the output before it.
    """
    n_weights, n_states = len(weights), len(states)

    def step(*values: Any) -> tuple[Any, ...]:
        before = values[n_weights : n_weights + n_states]
        x, *live = values[n_weights + n_states :]
        after = cell(x, values[:n_weights], before)
        if live:
            kept = reshape(live[0], (-1, *[1] * (spec_of(before[0]).rank - 1)))
            after = tuple(where(kept, new, old) for new, old in zip(after, before, strict=True))
        return (*after, after[output]) if sequences else after

    steps = [_swapped(x)]
    if mask is not None:
        steps.append(transpose(mask, (1, 0)))
    found = scan(step, weights, states, steps)
    found = found if isinstance(found, tuple) else (found,)
    return (_swapped(found[-1]), *found[:-1]) if sequences else found


def _swapped(x: Any) -> Any:
    """Time and batch in each other's place."""
    return transpose(x, (1, 0, *range(2, spec_of(x).rank)))


def _units(weight: Any, axis: int = 0) -> int:
    return int(spec_of(weight).dims[axis])  # type: ignore[arg-type] # units are a number
