"""THE TABLE: at least one row for each op, and one for each form of a public function."""

from tests.ops.cases import (
    activation,
    arrange,
    control,
    conv,
    decomposition,
    elements,
    elementwise,
    image,
    index,
    loss,
    norm,
    pool,
    random,
    recurrent,
    reduce,
    shape,
    sorting,
    statistics,
    text,
    transcendental,
)  # fmt: skip
from tests.ops.cases.case import INTEGER, NONE, ONES, OTHERS, SIZES, STEP, Case

CASES: tuple[Case, ...] = (
    *elementwise.CASES, *activation.CASES, *reduce.CASES, *shape.CASES, *index.CASES, *recurrent.CASES, *random.CASES,
    *loss.CASES, *norm.CASES, *conv.CASES, *pool.CASES, *transcendental.CASES, *sorting.CASES,
    *elements.CASES, *arrange.CASES, *decomposition.CASES, *statistics.CASES, *image.CASES, *text.CASES, *control.CASES,
)  # fmt: skip

__all__ = ["CASES", "INTEGER", "NONE", "ONES", "OTHERS", "SIZES", "STEP", "Case"]
