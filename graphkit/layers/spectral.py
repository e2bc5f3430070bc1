"""SpectralNormalization: a layer whose kernel has largest singular value 1."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.context import changed, claim, current
from graphkit.core.errors import ArgumentError
from graphkit.core.op import spec_of
from graphkit.layers.initializers import TruncatedNormal
from graphkit.layers.layer import Layer


class SpectralNormalization(Layer):
    """`layer`, its kernel divided by its largest singular value in each training call (Miyato et al., 2018).

    The value is estimated by power iterations, beginning at what the last call found; the kernel is a matrix of all its
    axes but the last, and that. Weights: those of the layer, and vector_u (1, n). ArgumentError for what is no layer,
    or no positive power_iterations.
    """

    def __init__(self, layer: Any, power_iterations: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(layer, Layer) or not isinstance(power_iterations, int) or power_iterations < 1:
            raise ArgumentError(
                "SpectralNormalization takes a layer and a positive whole number of power_iterations, got "
                f"{layer!r} and {power_iterations!r}"
            )
        self.layer, self.power_iterations = layer, power_iterations

    def build(self, input_shape: Any) -> None:
        """Makes the weights; ArgumentError where the layer has no kernel."""
        layer: Any = self.layer
        if not layer.built:
            with changed(scope=(*current().scope, layer.name)):
                layer.build(input_shape)
        names = [n for n in ("kernel", "embeddings") if hasattr(layer, n)]
        if not names:
            raise ArgumentError(f"SpectralNormalization: {layer!r} has neither a kernel nor embeddings")
        self.kernel = getattr(layer, names[0])
        self._weights.append(self.kernel)
        self.vector_u = self.add_weight(
            (1, self.kernel.array.shape[-1]), TruncatedNormal(stddev=0.02), trainable=False, name="vector_u"
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            self._divide()
        return self.layer(inputs, training=training)

    def _divide(self) -> None:
        """The kernel divided by its largest singular value, and vector_u brought nearer to its vector; 0 stays 0."""
        kernel, vector = ops.stop_gradient(self.kernel), ops.stop_gradient(self.vector_u)
        shape = spec_of(kernel).dims
        matrix = ops.reshape(kernel, (-1, shape[-1]))
        u = vector
        claim(10_000 * self.power_iterations, f"SpectralNormalization with {self.power_iterations} iterations")
        for _ in range(self.power_iterations):
            v = ops.normalize(ops.matmul(u, ops.transpose(matrix)), None)
            u = ops.normalize(ops.matmul(v, matrix), None)
        sigma = ops.matmul(ops.matmul(v, matrix), ops.transpose(u))
        nothing = ops.all(ops.equal(kernel, 0.0))
        self.vector_u.assign(ops.where(nothing, vector, u))
        self.kernel.assign(kernel / ops.reshape(ops.where(nothing, 1.0, sigma), [1] * len(shape)))
