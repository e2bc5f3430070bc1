"""graphkit: networks as graphs of function calls, trained with NumPy, exported to ONNX, served over gRPC.

The names are Keras 3's. `import graphkit` loads NumPy and little else; onnx, onnxruntime, grpc and rich load when
they are used.
"""

from graphkit import activations, layers, models, ops, random, testing, utils
from graphkit.autodiff import GradientTape
from graphkit.core import errors
from graphkit.core import version as _version
from graphkit.layers import Input, Layer, initializers, regularizers
from graphkit.models import Model, Sequential
from graphkit.ops import Variable
from graphkit.train import callbacks, losses, metrics, optimizers

__version__ = _version.VERSION

__all__ = [
    "GradientTape", "Input", "Layer", "Model", "Sequential", "Variable", "__version__", "activations",
    "callbacks", "errors", "initializers", "layers", "losses", "metrics", "models", "ops", "optimizers",
    "random", "regularizers", "testing", "utils",
]  # fmt: skip
