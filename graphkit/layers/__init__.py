"""Floor 3: Layer and every layer, under Keras's names."""

from graphkit.layers.core import Activation, Dense, Dropout, Embedding, Flatten, Identity, Reshape
from graphkit.layers.input import Input, InputLayer
from graphkit.layers.layer import Layer
from graphkit.layers.merging import Add, Concatenate, add, concatenate
from graphkit.layers.recurrent import LSTM

__all__ = [
    "LSTM", "Activation", "Add", "Concatenate", "Dense", "Dropout", "Embedding", "Flatten", "Identity",
    "Input", "InputLayer", "Layer", "Reshape", "add", "concatenate",
]  # fmt: skip
