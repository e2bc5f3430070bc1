"""Rows of `graphkit/ops/conv.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.op import apply
from graphkit.ops.conv import Conv, ConvInputGradient, ConvWeightGradient
from tests.ops.cases.case import Case, Input, normal

ALL = (Conv, ConvInputGradient, ConvWeightGradient)


def windows(n: int, k: int, s: int, d: int, padding: str) -> tuple[int, int]:
    """How many windows an axis has, and where the first one starts."""
    span = (k - 1) * d + 1
    if padding == "valid":
        return (n - span) // s + 1, 0
    outs = -(-n // s)
    return outs, 1 - span if padding == "causal" else -(max((outs - 1) * s + span - n, 0) // 2)


def meetings(x: Any, kernel: Any, s: Any, d: Any, padding: str) -> Any:
    """Each output position, offset in the kernel and input position that meet, one by one."""
    axes = [windows(n, k, *rest, padding) for n, k, *rest in zip(x, kernel, s, d, strict=True)]
    for out in np.ndindex(*(a[0] for a in axes)):
        for offset in np.ndindex(*kernel):
            place = [a[1] + o * step + k * gap for a, o, k, step, gap in zip(axes, out, offset, s, d, strict=True)]
            if all(0 <= p < n for p, n in zip(place, x, strict=True)):
                yield out, offset, tuple(place)


def convolved(s: Any = None, padding: str = "valid", d: Any = None, groups: int = 1) -> Callable[[Any, Any], Any]:
    """The convolution, one position, offset and group at a time."""

    def reference(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        axes = x.ndim - 2
        steps, gaps = s or (1,) * axes, d or (1,) * axes
        sizes, kernel = x.shape[1:-1], w.shape[:-2]
        outs = [windows(*a, padding)[0] for a in zip(sizes, kernel, steps, gaps, strict=True)]
        y = np.zeros((len(x), *outs, w.shape[-1]))
        c, m = w.shape[-2], w.shape[-1] // groups
        for out, offset, place in meetings(sizes, kernel, steps, gaps, padding):
            for g in range(groups):
                of, to = slice(g * c, g * c + c), slice(g * m, g * m + m)
                y[(slice(None), *out, to)] += np.einsum("bc,cm->bm", x[(slice(None), *place, of)], w[offset][:, to])
        return y

    return reference


def transposed(sizes: Callable[..., Any], s: Any, padding: str = "valid", d: Any = None) -> Callable[[Any, Any], Any]:
    """Each value times the kernel, added where a convolution of `sizes` would have met it."""

    def reference(g: np.ndarray, w: np.ndarray) -> np.ndarray:
        wide = sizes(*g.shape[1:-1])
        gaps = d or (1,) * len(wide)
        x = np.zeros((len(g), *wide, w.shape[-2]))
        for out, offset, place in meetings(wide, w.shape[:-2], s, gaps, padding):
            x[(slice(None), *place)] += np.einsum("bm,cm->bc", g[(slice(None), *out)], w[offset])
        return x

    return reference


def _depthwise(padding: str, s: int) -> Callable[[Any, Any], Any]:
    def reference(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        c, m = w.shape[-2:]
        flat = w.reshape(*w.shape[:-2], 1, c * m)
        return convolved((s,) * (x.ndim - 2), padding, groups=c)(x, flat)

    return reference


def _in_groups(x: Any, w: Any) -> Any:
    """Two groups of three channels, each with three filters."""
    batch, time = ops.shape(x)[:2]
    return ops.conv(ops.reshape(x, (batch, time, 6)), ops.reshape(w, (2, 3, 6)), 2, "same")


def _in_groups_reference(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return convolved((2,), "same", groups=2)(x.reshape(*x.shape[:2], 6), w.reshape(2, 3, 6))


def _separable(x: np.ndarray, w: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.einsum("bthc,cm->bthm", _depthwise("same", 1)(x, w), point[0, 0])


def _op(kind: Any, *fields: Any) -> Callable[..., Any]:
    return lambda *values: apply(kind(*fields), *values)


def _weights(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    w = np.zeros((3, 2, 17))
    for out, offset, place in meetings((x.shape[1],), (3,), (1,), (2,), "same"):
        w[offset] += np.einsum("bc,bm->cm", x[:, place[0]], g[:, out[0]])
    return w


def _image(width: int, channels: int) -> Input:
    return normal("b", "t", width, channels)


CONVS = (
    Case("conv", lambda x, w: ops.conv(x, w, padding="same"), (normal("b", "t", 3), normal(2, 3, 17)),
         convolved(padding="same"), ALL),
    Case("conv/valid", ops.conv, (normal("b", 17, 3), normal(2, 3, 19)), convolved()),
    Case("conv/valid_free", lambda x, w: ops.conv(x, w, 2), (normal("b", "t", 2), normal(3, 2, 17)),
         convolved((2,)), least=3),
    Case("conv/strides", lambda x, w: ops.conv(x, w, 2, "same"), (normal("b", "t", 2), normal(3, 2, 17)),
         convolved((2,), "same")),
    Case("conv/long_strides", lambda x, w: ops.conv(x, w, 3, "same"), (normal("b", "t", 3), normal(2, 3, 17)),
         convolved((3,), "same")),
    Case("conv/dilation", lambda x, w: ops.conv(x, w, padding="same", dilation_rate=2),
         (normal("b", "t", 2), normal(3, 2, 17)), convolved(padding="same", d=(2,))),
    Case("conv/strides_and_dilation", _op(Conv, (3,), "same", (2,)), (normal("b", "t", 2), normal(3, 2, 17)),
         convolved((3,), "same", (2,))),
    Case("conv/causal", lambda x, w: ops.conv(x, w, 2, "causal"), (normal("b", "t", 3), normal(2, 3, 17)),
         convolved((2,), "causal")),
    Case("conv/causal_dilation", lambda x, w: ops.conv(x, w, 1, "causal", dilation_rate=3),
         (normal("b", "t", 3), normal(2, 3, 17)), convolved(None, "causal", (3,))),
    Case("conv/planes", lambda x, w: ops.conv(x, w, padding="same"), (_image(3, 17), normal(2, 2, 17, 2)),
         convolved(padding="same")),
    Case("conv/image", lambda x, w: ops.conv(x, w, (2, 1), "same"), (_image(17, 2), normal(2, 3, 2, 19)),
         convolved((2, 1), "same")),
    Case("conv/image_valid", lambda x, w: ops.conv(x, w, (1, 3)), (normal("b", 17, 19, 3), normal(3, 2, 3, 2)),
         convolved((1, 3))),
    Case("conv/image_one", lambda x, w: ops.conv(x, w, padding="same"), (_image(17, 1), normal(3, 2, 1, 19)),
         convolved(padding="same")),
    Case("conv/pointwise", ops.conv, (_image(2, 3), normal(1, 1, 3, 17)), convolved()),
    Case("conv/pointwise_strides", lambda x, w: ops.conv(x, w, 2, "same"), (_image(2, 3), normal(1, 1, 3, 17)),
         convolved((2, 2), "same")),
    Case("conv/volume", lambda x, w: ops.conv(x, w, (1, 2, 1), "same"),
         (normal("b", "t", 3, 2, 2), normal(2, 3, 1, 2, 17)), convolved((1, 2, 1), "same")),
    Case("conv/groups", _in_groups, (normal("b", "t", 2, 3), normal(2, 3, 2, 3)), _in_groups_reference),
    Case("depthwise_conv", lambda x, w: ops.depthwise_conv(x, w, padding="same"), (_image(2, 3), normal(3, 2, 3, 1)),
         _depthwise("same", 1)),
    Case("depthwise_conv/multiplier", lambda x, w: ops.depthwise_conv(x, w, 2, "same"),
         (normal("b", "t", 3), normal(2, 3, 17)), _depthwise("same", 2)),
    Case("separable_conv", lambda x, w, p: ops.separable_conv(x, w, p, padding="same"),
         (_image(2, 3), normal(2, 2, 3, 1), normal(1, 1, 3, 17)), _separable),
)  # fmt: skip

TRANSPOSED = (
    Case("conv_transpose", lambda x, w: ops.conv_transpose(x, w, 2), (normal("b", "t", 2), normal(3, 17, 2)),
         transposed(lambda n: (2 * n + 1,), (2,)), ALL),
    Case("conv_transpose/same", lambda x, w: ops.conv_transpose(x, w, 2, "same"),
         (normal("b", "t", 2), normal(3, 17, 2)), transposed(lambda n: (2 * n,), (2,), "same")),
    Case("conv_transpose/gaps", lambda x, w: ops.conv_transpose(x, w, 3), (normal("b", "t", 3), normal(2, 17, 3)),
         transposed(lambda n: (3 * n,), (3,))),
    Case("conv_transpose/output_padding", lambda x, w: ops.conv_transpose(x, w, 3, "valid", 1),
         (normal("b", "t", 3), normal(2, 17, 3)), transposed(lambda n: (3 * n,), (3,))),
    Case("conv_transpose/same_output_padding", lambda x, w: ops.conv_transpose(x, w, 2, "same", 0),
         (normal("b", "t", 2), normal(3, 17, 2)), transposed(lambda n: (2 * n - 1,), (2,), "same")),
    Case("conv_transpose/dilation", lambda x, w: ops.conv_transpose(x, w, dilation_rate=2),
         (normal("b", "t", 2), normal(3, 17, 2)), transposed(lambda n: (n + 4,), (1,), d=(2,))),
    Case("conv_transpose/image", lambda x, w: ops.conv_transpose(x, w, (2, 1), "same"),
         (_image(17, 2), normal(2, 3, 19, 2)), transposed(lambda n, m: (2 * n, m), (2, 1), "same")),
    Case("conv_transpose/one_filter", lambda x, w: ops.conv_transpose(x, w, 2, "same"),
         (_image(2, 17), normal(3, 3, 1, 17)), transposed(lambda n, m: (2 * n, 2 * m), (2, 2), "same")),
    Case("ConvWeightGradient", _op(ConvWeightGradient, (1,), "same", (2,), 1, (3,)),
         (normal("b", "t", 2), normal("b", "t", 17)), _weights, ALL),
    Case("ConvInputGradient", lambda g, w: apply(ConvInputGradient((2,), "valid", (1,), 1, (19,)), g, w),
         (normal("b", 2, 2), normal(17, 3, 2)), transposed(lambda n: (19,), (2,))),
)  # fmt: skip

CASES = (*CONVS, *TRANSPOSED)
