"""The curves of training as a picture. The one file that imports matplotlib; it is loaded when a History is plotted."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from graphkit.core.errors import ArgumentError

ACROSS = 3
WIDE, HIGH = 4.6, 3.4
DOTS = 12
LOOKS = {"training": "#2b6cb0", "validation": "#dd6b20"}
Curve = tuple[Sequence[int], Sequence[float]]


class Curves(Figure):
    """A panel for each name with its values over the epochs, those of `val_<name>` in the same one.

    curves: epochs and values by name. No state of matplotlib's is changed.
    """

    def __init__(self, curves: Mapping[str, Curve]) -> None:
        names = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
        across = 2 if len(names) == 4 else min(len(names), ACROSS)
        down = -(-len(names) // across)
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        super().__init__(figsize=(WIDE * across, HIGH * down), layout=layout)
        panels = self.subplots(down, across, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            both = {"training": curves.get(name), "validation": curves.get(f"val_{name}")}
            _draw(panel, name, {what: curve for what, curve in both.items() if curve is not None})
        for panel in panels[len(names) :]:
            panel.remove()

    def write(self, path: str | Path) -> None:
        """Writes the picture, as the ending of the path says; ArgumentError where that or the folder is unknown."""
        target, known = Path(path), sorted(self.canvas.get_supported_filetypes())
        if target.suffix[1:].lower() not in known:
            raise ArgumentError(f"cannot plot to {str(target)!r}; the ending must be one of {', '.join(known)}")
        if not target.parent.is_dir():
            raise ArgumentError(f"the folder {str(target.parent)!r} does not exist")
        self.savefig(target)

    def _repr_svg_(self) -> str:
        """The picture as a notebook takes it in."""
        text = io.StringIO()
        self.savefig(text, format="svg", metadata={"Date": None})
        return text.getvalue()[text.getvalue().index("<svg") :]


def _draw(panel: Any, name: str, curves: Mapping[str, Curve]) -> None:
    for what, (epochs, values) in curves.items():
        dots = "o" if len(epochs) <= DOTS else None
        panel.plot(epochs, values, color=LOOKS[what], label=what, marker=dots, markersize=4, linewidth=1.6)
    first, last = (pick(e for epochs, _ in curves.values() for e in epochs) for pick in (min, max))
    pad = 0.05 * max(last - first, 10)
    panel.set_xlim(first - min(pad, 0.9), last + pad)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_title(name.replace("_", " "), fontsize=11)
    panel.set_xlabel("epoch")
    panel.set_ylabel(name)
    panel.grid(color="#e2e8f0", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
