"""Random numbers inside graphs."""

from graphkit.ops.random import SeedGenerator, normal, uniform

__all__ = ["SeedGenerator", "normal", "uniform"]
