"""Floor 6: Model and Sequential."""

from graphkit.models.model import Model
from graphkit.models.sequential import Sequential

__all__ = ["Model", "Sequential"]
