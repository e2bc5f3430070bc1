"""The table of layers: how each is made and called, on what, and the same in NumPy at float64."""

from tests.layers.cases import attention, core, merging, normalization, preparing, recurrent, spatial, text
from tests.layers.cases.row import B, Row, T

ROWS: tuple[Row, ...] = (
    *core.ROWS, *recurrent.ROWS, *merging.ROWS, *normalization.ROWS, *attention.ROWS, *spatial.ROWS, *preparing.ROWS,
    *text.ROWS,
)  # fmt: skip

# What the table need not hold: the base, the two forms of an input, and functions of a layer of the same name.
APART = {
    "Layer", "Input", "InputLayer", "add", "average", "concatenate", "dot", "maximum", "minimum", "multiply",
    "subtract",
}  # fmt: skip

__all__ = ["APART", "ROWS", "B", "Row", "T"]
