"""The errors a person can act on, as one tree.

GraphkitError
 ├── ShapeError            shapes that do not fit, with both shapes and the layer (also a ValueError)
 ├── DtypeError            a dtype that is not taken, or a value that does not survive a cast (also a TypeError)
 ├── ArgumentError         a wrong argument, name or structure (also a ValueError)
 ├── LengthError           the length of something that only a loop can count (also a TypeError, as `list` asks)
 ├── RangeError            an id or label outside its range (also a ValueError)
 ├── StateError            called in the wrong order: not built, not compiled (also a RuntimeError)
 ├── TraceError            a value without a number was asked for one (also a RuntimeError)
 ├── GradientError         a gradient that does not exist (also a NotImplementedError)
 ├── NonFiniteError        a NaN or infinity in training, with layer, op and row (also an ArithmeticError)
 ├── ExportError           a model that cannot be written, or a file that does not answer as the model does
 ├── SavingError           a model that cannot be saved, or a saved file that is refused (also a ValueError)
 └── ServingError          a server that does not start, or a call that it refuses (also a RuntimeError)
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ArgumentError", "DtypeError", "ExportError", "GradientError", "GraphkitError", "LengthError", "NonFiniteError",
    "RangeError", "SavingError", "ServingError", "ShapeError", "StateError", "TraceError",
]  # fmt: skip


class GraphkitError(Exception):
    """The root of all errors raised on purpose."""


class ShapeError(GraphkitError, ValueError):
    """Shapes that do not fit together."""


class DtypeError(GraphkitError, TypeError):
    """A dtype that is not taken, or a value that a cast would change."""


class ArgumentError(GraphkitError, ValueError):
    """A wrong argument, name or structure."""


class LengthError(GraphkitError, TypeError):
    """A length that is not known before the end."""


class RangeError(GraphkitError, ValueError):
    """An id or a label outside its valid range."""


class StateError(GraphkitError, RuntimeError):
    """Something was called before what it rests on: not built, not compiled, in use elsewhere."""


class TraceError(GraphkitError, RuntimeError):
    """Python asked a symbolic value for its number."""


class GradientError(GraphkitError, NotImplementedError):
    """A gradient that does not exist was asked for."""


class NonFiniteError(GraphkitError, ArithmeticError):
    """A NaN or an infinity arose in training. Where, as far as it is known: layer, op, row of the batch."""

    layer: str | None = None
    op: str | None = None
    row: int | None = None


class ExportError(GraphkitError, RuntimeError):
    """A model that cannot be written as ONNX, or a file that answers otherwise than the model."""


class SavingError(GraphkitError, ValueError):
    """A model that cannot be saved, or a saved file that cannot be taken."""


class ServingError(GraphkitError, RuntimeError):
    """A server that does not start or cannot be reached, or a call that it refuses."""


def located(error: GraphkitError, place: str) -> GraphkitError:
    """The same error with the layer path in front of its message; once only."""
    if not place or getattr(error, "place", None):
        return error
    return retold(error, f"{place}: {error}", place=place)


def retold(error: GraphkitError, text: str, **more: Any) -> GraphkitError:
    """The same error with another text; what it knows beside its text stays, and `more` is added."""
    again = type(error)(text)
    again.__dict__.update(vars(error), **more)
    return again.with_traceback(error.__traceback__)


def positive(what: str, value: Any) -> int:
    """The value; ArgumentError where it is no positive whole number."""
    if not isinstance(value, int) or value < 1:
        owner, _, name = what.rpartition(": ")
        example = f"{owner}({name}=32)" if owner else f"{name}=32"
        raise ArgumentError(f"{what} must be a positive whole number, got {value!r}; for example {example}")
    return value
