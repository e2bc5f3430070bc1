"""Small helpers under Keras's names."""

from graphkit.core.seeds import set_seed as set_random_seed
from graphkit.layers.naming import clear_session
from graphkit.models.config import register_serializable
from graphkit.models.plotting import model_to_dot, plot_model
from graphkit.train.dataset import Dataset
from graphkit.train.feed import unpack as unpack_x_y_sample_weight

__all__ = [
    "Dataset",
    "clear_session",
    "model_to_dot",
    "plot_model",
    "register_serializable",
    "set_random_seed",
    "unpack_x_y_sample_weight",
]
