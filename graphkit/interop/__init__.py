"""Models of other frameworks as graphkit's."""

from graphkit.interop.keras import from_keras, load_keras_weights

__all__ = ["from_keras", "load_keras_weights"]
