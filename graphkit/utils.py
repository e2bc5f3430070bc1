"""Small helpers under Keras's names."""

from graphkit.core.seeds import set_seed as set_random_seed
from graphkit.layers.naming import clear_session

__all__ = ["clear_session", "set_random_seed"]
