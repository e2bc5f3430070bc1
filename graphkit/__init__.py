"""graphkit: networks as graphs of function calls, trained with NumPy, exported to ONNX, served over gRPC.

The names are Keras 3's. `import graphkit` loads NumPy and little else; onnx, onnxruntime, grpc and rich load when
they are used.
"""

from graphkit import activations, layers, models, ops, random, testing, utils
from graphkit.autodiff import GradientTape, custom_gradient
from graphkit.core import errors
from graphkit.core import version as _version
from graphkit.interop import from_keras, load_keras_weights
from graphkit.layers import Input, Layer, constraints, initializers, regularizers
from graphkit.models import Model, Sequential
from graphkit.models.signatures import gradient_of
from graphkit.ops import Variable
from graphkit.runtime.threads import get_num_threads, set_num_threads
from graphkit.train import callbacks, losses, metrics, optimizers
from graphkit.train.dataset import Dataset

__version__ = _version.VERSION

__all__ = [
    "Dataset", "GradientTape", "Input", "Layer", "Model", "Sequential", "Variable", "__version__",
    "activations", "callbacks", "constraints", "custom_gradient", "errors", "from_keras", "get_num_threads",
    "gradient_of", "initializers", "layers", "load_keras_weights", "losses", "metrics", "models", "ops", "optimizers",
    "random", "regularizers", "set_num_threads", "testing", "utils",
]  # fmt: skip
