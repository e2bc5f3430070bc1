"""Convolutions and their gradients as ONNX's `Conv` and `ConvTranspose`, which keep channels in front.

Padding is written as numbers where it is one for every size, as SAME_UPPER or as arithmetic on the sizes where it is
not. A weight gradient is a convolution of x with g: channels stand for the batch, and strides for the dilation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ExportError
from graphkit.core.op import Builder
from graphkit.core.spec import Sizes, show
from graphkit.ops.window import Window


def channels_first(kernel: Array) -> Array:
    """(*k, c, m) to (m, c, *k)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def to_front(b: Builder, name: str, axes: int) -> str:
    """(b, *n, c) as (b, c, *n)."""
    return b.emit("Transpose", name, perm=[0, axes + 1, *range(1, axes + 1)])


def to_back(b: Builder, name: str, out: str, axes: int) -> None:
    """(b, c, *n) as (b, *n, c), under its final name."""
    b.node("Transpose", [name], [out], perm=[0, *range(2, axes + 2), 1])


def _kernel(b: Builder, name: str, axes: int) -> str:
    if not all(isinstance(k, int) for k in b.spec(name).dims[:-2]):
        raise ExportError(f"a convolution is exported with a kernel of known sizes, got {show(b.spec(name).dims)}")
    return b.packed(name, channels_first) or b.emit("Transpose", name, perm=[axes + 1, axes, *range(axes)])


def padding(b: Builder, x: str, window: Window, sizes: Sizes) -> tuple[str, dict[str, Any]]:
    """x (b, c, *sizes), padded itself where no attribute can say how; and the attributes of the windows."""
    attributes: dict[str, Any] = {"strides": list(window.strides)}
    if set(window.dilation) != {1}:
        attributes["dilations"] = list(window.dilation)
    ends = window.ends(sizes, "")
    known = [e for e in ends if e is not None]
    if len(known) == len(ends):
        pads = [*(low for low, _ in known), *(high for _, high in known)]
        return x, {**attributes, **({"pads": pads} if any(pads) else {})}
    if "dilations" not in attributes:
        return x, {**attributes, "auto_pad": "SAME_UPPER"}
    return padded(b, x, window, sizes), attributes


def padded(b: Builder, x: str, window: Window, sizes: Sizes) -> str:
    """x with zeros around it, as many as the sizes ask for when it runs."""
    total = _total(b, window, sizes)
    low = b.emit("Div", total, b.constant([2]))
    return _pad(b, x, low, b.emit("Sub", total, low))


def _total(b: Builder, window: Window, sizes: Sizes) -> str:
    """The padding of each axis for "same"."""
    lacking = b.emit("Sub", b.sizes(window.covered(sizes, "")), b.sizes(sizes))
    return b.emit("Max", lacking, b.constant([0]))


def _pad(b: Builder, x: str, low: str, high: str) -> str:
    front = b.constant([0, 0])
    return b.emit("Pad", x, b.emit("Concat", front, low, front, high, axis=0))


def lower_conv(b: Builder, ins: Sequence[str], outs: Sequence[str], window: Window, groups: int) -> None:
    """Writes `Conv`."""
    axes, sizes = len(window.kernel), b.spec(ins[0]).dims[1:-1]
    kernel = _kernel(b, ins[1], axes)
    x, attributes = padding(b, to_front(b, ins[0], axes), window, sizes)
    y = b.emit("Conv", x, kernel, group=groups, kernel_shape=list(window.kernel), **attributes)
    to_back(b, y, outs[0], axes)


def lower_input_gradient(
    b: Builder, ins: Sequence[str], outs: Sequence[str], window: Window, groups: int, sizes: Sizes
) -> None:
    """Writes `ConvInputGradient`."""
    axes = len(window.kernel)
    x = transposed(b, to_front(b, ins[0], axes), _kernel(b, ins[1], axes), window, groups, sizes)
    to_back(b, x, outs[0], axes)


def transposed(b: Builder, g: str, kernel: str, window: Window, groups: int, sizes: Sizes) -> str:
    """The transposed convolution of g (b, m, *outs) with a kernel (m, c / groups, *k) as (b, c, *sizes)."""
    attributes: dict[str, Any] = {"strides": list(window.strides), "dilations": list(window.dilation)}
    attributes.update(group=groups, kernel_shape=list(window.kernel))
    ends, covered = window.ends(sizes, ""), window.covered(sizes, "")
    behind = [None if e is None else n + e[0] - c for n, e, c in zip(sizes, ends, covered, strict=True)]
    if all(isinstance(extra, int) for extra in behind):
        extras: list[int] = behind  # type: ignore[assignment] # all are numbers
        pads = [*(e[0] for e in ends if e is not None), *(max(-extra, 0) for extra in extras)]
        output_padding = [max(extra, 0) for extra in extras]
        return b.emit("ConvTranspose", g, kernel, pads=pads, output_padding=output_padding, **attributes)
    full = b.emit("ConvTranspose", g, kernel, **attributes)
    low = b.emit("Div", _total(b, window, sizes), b.constant([2]))
    if window.padding != "same":
        low = b.constant([e[0] for e in ends if e is not None])
    end = b.emit("Add", low, b.sizes(sizes))
    missing = b.emit("Max", b.emit("Sub", end, b.sizes(covered)), b.constant([0]))
    long = _pad(b, full, b.constant([0] * len(sizes)), missing)
    return b.emit("Slice", long, low, end, b.constant(list(range(2, len(sizes) + 2))))


def lower_weight_gradient(b: Builder, ins: Sequence[str], outs: Sequence[str], window: Window, groups: int) -> None:
    """Writes `ConvWeightGradient`: groups of x's channels stand beside the batch."""
    x_spec = b.spec(ins[0])
    axes, sizes = len(window.kernel), x_spec.dims[1:-1]
    x, g = ins
    rows, of_group = x_spec.dims[0], x_spec.dims[-1] // groups
    spatial = range(1, axes + 1)
    if groups == 1:
        x = b.emit("Transpose", x, perm=[axes + 1, 0, *spatial])
    else:
        x = b.emit("Reshape", x, b.sizes([rows, *sizes, groups, of_group]), allowzero=1)
        x = b.emit("Transpose", x, perm=[axes + 2, axes + 1, 0, *spatial])
        x = b.emit("Reshape", x, b.sizes([of_group, rows * groups, *sizes]), allowzero=1)
    g = b.emit("Transpose", g, perm=[axes + 1, 0, *spatial])
    ends = window.ends(sizes, "")
    pads: list[int] = []
    if None in ends:
        x = padded(b, x, window, sizes)
    else:
        pads = [*(e[0] for e in ends if e), *(e[1] for e in ends if e)]
    attributes = {"pads": pads} if any(pads) else {}
    y = b.emit("Conv", x, g, group=groups, strides=list(window.dilation), dilations=list(window.strides), **attributes)
    start, stop = b.constant([0] * axes), b.constant(list(window.kernel))
    cut = b.emit("Slice", y, start, stop, b.constant(list(range(2, axes + 2))))
    b.node("Transpose", [cut], outs, perm=[*range(2, axes + 2), 0, 1])
