"""Random numbers inside graphs."""

from graphkit.ops.random import SeedGenerator, dropout, normal, uniform

__all__ = ["SeedGenerator", "dropout", "normal", "uniform"]
