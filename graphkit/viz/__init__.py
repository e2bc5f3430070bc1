"""Floor 5: pictures of graphs; `graphkit.viz.draw`, which starts programs, loads when it is used."""

from graphkit.viz.dot import Look, dot_text

__all__ = ["Look", "dot_text"]
