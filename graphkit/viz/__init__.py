"""Floor 5: pictures of graphs."""

from graphkit.viz.dot import Look, dot_text
from graphkit.viz.draw import rendered, write_picture

__all__ = ["Look", "dot_text", "rendered", "write_picture"]
