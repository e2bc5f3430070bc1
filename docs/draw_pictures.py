"""Draws docs/images/tickets.svg, the picture of the README: python docs/draw_pictures.py"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import graphkit  # noqa: E402 - the path comes first
from examples import tickets  # noqa: E402 - the same

PICTURE = ROOT / "docs" / "images" / "tickets.svg"


def main() -> None:
    graphkit.utils.clear_session()
    graphkit.utils.plot_model(tickets.build(), PICTURE, show_shapes=True)


if __name__ == "__main__":
    main()
