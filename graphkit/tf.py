"""TensorFlow's names for what the lecture's listings write, so that they run with only their import lines changed.

Write `from graphkit import tf`, `import graphkit as keras`, `from graphkit import layers`.
"""

import graphkit as keras
from graphkit import activations as nn
from graphkit.autodiff import GradientTape
from graphkit.ops import exp, square, zeros
from graphkit.ops import mean as reduce_mean
from graphkit.ops import sum as reduce_sum

__all__ = ["GradientTape", "exp", "keras", "nn", "reduce_mean", "reduce_sum", "square", "zeros"]
