"""Floor 2b: plans, which run graphs."""

from graphkit.runtime.plan import Plan

__all__ = ["Plan"]
