"""An optimizer's traced update, called again node by node on the numbers of each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkit.core.spec import Spec
from graphkit.graph import trace
from graphkit.graph.graph import Graph, replay


def updated(update: Callable[..., Any], steps: Sequence[Sequence[np.ndarray]]) -> Graph:
    """Traces `update`, a function of gradients, and carries out each step on the variables; gives the graph."""
    graph, symbols = trace.run(update, [Spec(g.shape, g.dtype) for g in steps[0]])
    nodes = graph.nodes()
    for gradients in steps:
        values: dict[int, Any] = {id(s): v.numpy() for v, s in graph.states}
        values |= {id(s): g for s, g in zip(symbols, gradients, strict=True)}
        replay(nodes, values)
        for variable, value in graph.updates:
            variable.assign(values[id(value)])
    return graph
