"""Layers that sum products over letters: Dot, EinsumDense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import axis_of
from graphkit.layers import activations, constraints, initializers, regularizers
from graphkit.layers.layer import Layer
from graphkit.layers.merging import check_several


class Dot(Layer):
    """The products of two values summed over one axis of each, batch by batch.    (b, 2, 3), (b, 5, 3) -> (b, 2, 5)

    axes: one axis for both, or a pair. normalize: both are brought to length 1 along it, which gives the cosine.
    Two vectors for each row give (b, 1). ArgumentError where axes are not one or two whole numbers.
    """

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, int) and len(tuple(axes)) != 2:
            raise ArgumentError(f"Dot: axes is one axis or two, got {axes}")
        self.axes, self.normalize = axes, normalize

    def build(self, input_shape: Any) -> None:
        check_several(self, input_shape, 2)

    def call(self, inputs: Sequence[Any]) -> Any:
        """Computes the outputs; ArgumentError where an axis is 0, the batch."""
        pair = [self.axes] * 2 if isinstance(self.axes, int) else self.axes
        ranks = [spec_of(x).rank for x in inputs]
        axes = [axis_of(a, rank) for a, rank in zip(pair, ranks, strict=True)]
        if 0 in axes:
            raise ArgumentError(f"Dot: axis 0 is the batch, which is not summed over, got axes={self.axes}")
        x, y = (ops.normalize(v, a) if self.normalize else v for v, a in zip(inputs, axes, strict=True))
        left = "".join("z" if i == axes[0] else "abcdefgh"[i] for i in range(ranks[0]))
        right = "a" + "".join("z" if i == axes[1] else "ijklmnop"[i] for i in range(1, ranks[1]))
        found = ops.einsum(f"{left},{right}->{(left + right[1:]).replace('z', '')}", x, y)
        return ops.expand_dims(found, 1) if ranks == [2, 2] else found

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


class EinsumDense(Layer):
    """activation(einsum(equation, x, W) + b).    "abc,cd->abd": (b, t, n) -> (b, t, units)

    equation: letters of x, W and the result, the batch first; "..." in x and the result stands for any axes.
    output_shape: the sizes of the result behind the batch, or its last ones where "..." stands in front; None where
    no letter of W asks. bias_axes: the letters of the result that the bias has. Weights: kernel, bias.
    """

    def __init__(
        self, equation: str, output_shape: int | Sequence[int | None], activation: Any = None,
        bias_axes: str | None = None, kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
        bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.equation = equation.replace(" ", "")
        self.output_sizes = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.activation = activations.get(activation)
        self.bias_axes = bias_axes
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def build(self, input_shape: Any) -> None:
        """Makes the weights; ArgumentError for an equation that cannot be read, or other bias_axes."""
        given, _, result = self.equation.partition("->")
        source, _, weight = given.partition(",")
        if not (source and weight and result):
            raise ArgumentError(f"EinsumDense: an equation reads 'abc,cd->abd', got {self.equation!r}")
        sizes = {**self._result_sizes(result), **_aligned(source, tuple(input_shape))}
        self.kernel = self.add_weight(
            [self._known(sizes, letter, input_shape) for letter in weight], self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint, name="kernel",
        )  # fmt: skip
        self.bias = None
        if self.bias_axes:
            start = min(result.find(letter) for letter in self.bias_axes)
            if start < 0:
                raise ArgumentError(f"EinsumDense: bias_axes {self.bias_axes!r} are not all in {result!r}")
            shape = [
                self._known(sizes, letter, input_shape) if letter in self.bias_axes else 1
                for letter in result[start:].replace("...", "")
            ]
            if result.endswith("..."):
                shape += [1] * (len(input_shape) - len(source.replace("...", "")))
            self.bias = self.add_weight(
                shape, self.bias_initializer, regularizer=self.bias_regularizer, constraint=self.bias_constraint,
                name="bias",
            )  # fmt: skip

    def _result_sizes(self, result: str) -> dict[str, int | None]:
        """The sizes of the result's letters, as the output shape gives them."""
        if result.startswith("..."):
            return _aligned(result, self.output_sizes)
        return _aligned(result[1:], self.output_sizes)

    def _known(self, sizes: dict[str, int | None], letter: str, shape: Any) -> int:
        size = sizes.get(letter)
        if size is None:
            raise ShapeError(
                f"EinsumDense {self.equation!r} needs to know the size of {letter!r}, got an input of shape {shape} "
                f"and output_shape {self.output_sizes}"
            )
        return size

    def announced(self, given: Sequence[Any], shapes: Sequence[Any]) -> Sequence[Any]:
        if "..." in self.equation or len(self.output_sizes) != len(shapes[0]) - 1:
            return shapes
        return [
            (
                shapes[0][0],
                *(None if own is None else n for own, n in zip(self.output_sizes, shapes[0][1:], strict=True)),
            )
        ]

    def call(self, inputs: Any) -> Any:
        x = ops.einsum(self.equation, inputs, self.kernel)
        return self.activation(x if self.bias is None else x + self.bias)


def _aligned(letters: str, sizes: tuple[int | None, ...]) -> dict[str, int | None]:
    """A size for each letter, counted from the end where "..." stands in front."""
    plain = letters.replace("...", "")
    if letters.startswith("..."):
        sizes = sizes[len(sizes) - len(plain) :]
    return dict(zip(plain, sizes, strict=False))


# functions


def dot(inputs: Sequence[Any], axes: int | Sequence[int] = -1, **kwargs: Any) -> Any:
    """Dot(axes)(inputs)."""
    return Dot(axes, **kwargs)(inputs)
