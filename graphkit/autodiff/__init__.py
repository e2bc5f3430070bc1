"""Floor 2b: the tape and the check of gradients."""

from graphkit.autodiff.check import check_grads
from graphkit.autodiff.custom import custom_gradient
from graphkit.autodiff.tape import GradientTape

__all__ = ["GradientTape", "check_grads", "custom_gradient"]
