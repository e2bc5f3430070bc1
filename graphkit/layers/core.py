"""The plainest layers: Dense, Embedding, Activation, Lambda, Dropout, Flatten, Reshape."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from graphkit import ops
from graphkit.core.dimension import count
from graphkit.core.dtypes import is_float
from graphkit.core.errors import ArgumentError, ShapeError, positive
from graphkit.core.op import apply, spec_of
from graphkit.core.spec import show
from graphkit.layers import activations, constraints, initializers, regularizers
from graphkit.layers.layer import Layer, mask_told
from graphkit.ops.lookup import WholeNumbers
from graphkit.ops.random import dropout


class Dense(Layer):
    """activation(x W + b).    (..., n) -> (..., units)

    Weights: kernel (n, units), bias (units,). The last size of x must be known. With lora_rank r the kernel is frozen,
    and W = kernel + lora_alpha / r A B with lora_kernel_a (n, r) and lora_kernel_b (r, units) (Hu et al., 2021).
    """

    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
        bias_constraint: Any = None, lora_rank: int | None = None, lora_alpha: float | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.lora_rank, self.lora_alpha = lora_rank, 0 if lora_rank is None else lora_alpha or lora_rank
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.units = positive("Dense: units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def build(self, input_shape: Any) -> None:
        """Makes the weights; ShapeError where the last size is free."""
        size = input_shape[-1] if input_shape else None
        if size is None:
            raise ShapeError(
                f"Dense needs to know the last size of its input, got shape {input_shape}; "
                "give the Input a fixed length, or pool over the free axis first, with layers.GlobalAveragePooling1D"
            )
        self.kernel = self.add_weight(
            (size, self.units), self.kernel_initializer, regularizer=self.kernel_regularizer, name="kernel",
            constraint=self.kernel_constraint,
        )  # fmt: skip
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,), self.bias_initializer, regularizer=self.bias_regularizer, name="bias",
                constraint=self.bias_constraint,
            )  # fmt: skip
        if self.lora_rank:
            rank, first = self.lora_rank, "he_uniform"
            self.kernel.trainable = self.kernel.wanted = False  # type: ignore[attr-defined] # what `trainable` restores
            self.lora_kernel_a = self.add_weight((size, rank), first, name="lora_kernel_a")
            self.lora_kernel_b = self.add_weight((rank, self.units), "zeros", name="lora_kernel_b")

    def call(self, inputs: Any) -> Any:
        """Computes the outputs; ShapeError where the last size is another than that of the kernel."""
        expected = self.kernel.array.shape[0]
        if spec_of(inputs).dims[-1] != expected:
            raise ShapeError(
                f"expected an input whose last size is {expected}, got {show(spec_of(inputs).dims)}; "
                "one layer has one kernel, so make another with layers.Dense"
            )
        kernel = self.kernel
        if self.lora_rank:
            kernel = kernel + ops.matmul(self.lora_kernel_a, self.lora_kernel_b) * (self.lora_alpha / self.lora_rank)
        x = ops.matmul(inputs, kernel)
        return self.activation(x + self.bias if self.use_bias else x)


class Embedding(Layer):
    """Row `id` of a table for each id.    (b, t) whole numbers in [0, input_dim) -> (b, t, output_dim)

    Weights: embeddings (input_dim, output_dim). mask_zero: id 0 is padding, and the mask says so.
    """

    whole_numbers = True

    def __init__(
        self, input_dim: int, output_dim: int, embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None, embeddings_constraint: Any = None, mask_zero: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.input_dim = positive("Embedding: input_dim", input_dim)
        self.output_dim = positive("Embedding: output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.mask_zero = mask_zero

    def build(self, input_shape: Any) -> None:
        self.embeddings = self.add_weight(
            (self.input_dim, self.output_dim), self.embeddings_initializer,
            regularizer=self.embeddings_regularizer, name="embeddings", constraint=self.embeddings_constraint,
        )  # fmt: skip

    def call(self, inputs: Any) -> Any:
        if is_float(spec_of(inputs).dtype):
            inputs = apply(WholeNumbers(), inputs)
        return ops.take(self.embeddings, inputs, axis=0)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.not_equal(inputs, 0) if self.mask_zero else None


class ReversibleEmbedding(Embedding):
    """`Embedding`, and with reverse=True its way back: x W.    (b, t, output_dim) -> (b, t, input_dim)

    W is the transposed table where tie_weights (Press and Wolf, 2017), else a weight reverse_embeddings (output_dim,
    input_dim). logit_soft_cap: a bound c that the results of the way back stay within, as c tanh(x / c).
    """

    whole_numbers = False

    def __init__(
        self, input_dim: int, output_dim: int, tie_weights: bool = True, embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None, embeddings_constraint: Any = None, mask_zero: bool = False,
        logit_soft_cap: float | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            input_dim, output_dim, embeddings_initializer, embeddings_regularizer, embeddings_constraint, mask_zero,
            **kwargs,
        )  # fmt: skip
        self.tie_weights, self.logit_soft_cap = tie_weights, logit_soft_cap

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if not self.tie_weights:
            shape = (self.output_dim, self.input_dim)
            self.reverse_embeddings = self.add_weight(shape, self.embeddings_initializer, name="reverse_embeddings")

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        if not reverse:
            found = super().call(inputs)
            found.mask = super().compute_mask(inputs)
            return found
        found = ops.matmul(inputs, ops.transpose(self.embeddings) if self.tie_weights else self.reverse_embeddings)
        return found if self.logit_soft_cap is None else ops.tanh(found / self.logit_soft_cap) * self.logit_soft_cap

    compute_mask = Layer.compute_mask


class Lambda(Layer):
    """function(x, **arguments), a formula over ops; with a `mask` argument it is given the mask.

    mask: the mask of the result, or a function of (inputs, mask) that gives it. Weights that the function reads must
    be held by a layer of their own: write a Layer for that.
    """

    def __init__(
        self, function: Callable[..., Any], output_shape: Any = None, mask: Any = None,
        arguments: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.function, self.result_mask, self.arguments = function, mask, dict(arguments or {})
        self.takes_mask = "mask" in inspect.signature(function).parameters

    def call(self, inputs: Any, mask: Any = None) -> Any:
        given = {"mask": mask} if self.takes_mask else {}
        return self.function(inputs, **self.arguments, **given)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.result_mask(inputs, mask) if callable(self.result_mask) else self.result_mask


class Activation(Layer):
    """activation(x), element by element."""

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def announced(self, given: Sequence[Any], shapes: Sequence[Any]) -> Sequence[Any]:
        return [given[0].shape]

    def call(self, inputs: Any) -> Any:
        return self.activation(inputs)


class Identity(Layer):
    """x."""

    def call(self, inputs: Any) -> Any:
        return inputs


class ActivityRegularization(Layer):
    """x, whose l1 sum(|x|) + l2 sum(x^2), divided by the rows, is added to the loss."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1, l2), **kwargs)

    def call(self, inputs: Any) -> Any:
        return inputs


class Dropout(Layer):
    """In training, each element is 0 with probability `rate`, else x / (1 - rate); otherwise x.

    Srivastava et al., 2014. seed: a whole number for a stream of its own. ArgumentError for a rate outside [0, 1).
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ArgumentError(
                f"{type(self).__name__}: rate must be at least 0 and below 1, got {rate}; for half: "
                f"{type(self).__name__}(rate=0.5)"
            )
        self.rate, self.noise_shape = rate, noise_shape
        self.generator = None if seed is None else ops.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return inputs
        return dropout(inputs, self.rate, self.noise_shape, self.generator)


class Flatten(Layer):
    """All axes but the batch as one; a mask ends here.    (b, 3, 4) -> (b, 12)"""

    def call(self, inputs: Any) -> Any:
        dims = spec_of(inputs).dims
        rest = count(dims[1:]) if len(dims) > 1 else 1
        return ops.reshape(inputs, (dims[0], rest))


class Reshape(Layer):
    """The axes behind the batch in other sizes, one of which may be -1.    (b, 12), (3, -1) -> (b, 3, 4)

    A mask stays where the first of them keeps its size; else it ends here, with a warning.
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = tuple(target_shape)

    def call(self, inputs: Any) -> Any:
        """Computes the outputs; ShapeError where the sizes do not divide."""
        dims = spec_of(inputs).dims
        if -1 not in self.target_shape:
            given, wanted = count(dims[1:]), count(self.target_shape)
            if isinstance(given, int) and isinstance(wanted, int) and given != wanted:
                raise ShapeError(
                    f"Reshape cannot make {self.target_shape} ({wanted} values a row) of {show(dims)} ({given}); "
                    "layers.Reshape((-1, ...)) takes what is left"
                )
            return mask_told(self, inputs, ops.reshape(inputs, (dims[0], *self.target_shape)))
        known = count([d for d in self.target_shape if d != -1])
        total = count(dims[1:])
        if known == 0 or (isinstance(total, int) and isinstance(known, int) and total % known):
            raise ShapeError(f"cannot reshape {show(dims)} into {self.target_shape} behind the batch")
        free = total // known
        sizes = (dims[0], *(free if d == -1 else d for d in self.target_shape))
        return mask_told(self, inputs, ops.reshape(inputs, sizes))
