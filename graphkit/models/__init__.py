"""Floor 6: Model and Sequential."""

from graphkit.models.cloning import clone_model
from graphkit.models.model import Model
from graphkit.models.saving import load_model
from graphkit.models.sequential import Sequential

__all__ = ["Model", "Sequential", "clone_model", "load_model"]
