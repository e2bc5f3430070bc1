"""infer says what forward returns: shape and dtype, with numbers and with free sizes; wrong ones raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.core.errors import ArgumentError, DtypeError, ShapeError
from graphkit.core.op import apply, infer_all, spec_of
from graphkit.core.spec import Spec
from graphkit.ops.slices import Slice
from tests.ops import harness
from tests.ops.cases import CASES, ONES, OTHERS, SIZES, Case

by_row = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


@by_row
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_numbers(case: Case, dtype: str) -> None:
    """Each op called by the row and by its gradient, private outputs included."""
    for op, ins, outs in harness.calls(case, SIZES, dtype):
        assert infer_all(op, [spec_of(x) for x in ins]) == tuple(Spec(o.shape, o.dtype) for o in outs), op


@by_row
@pytest.mark.parametrize("sizes", [ONES, SIZES, OTHERS], ids=["ones", "sizes", "others"])
def test_with_free_sizes(case: Case, sizes: dict[str, int]) -> None:
    """The sizes of the traced outputs, once numbers stand for the names, are those of the eager ones."""
    arrays = case.arrays(sizes, "float32")
    graph = harness.traced(case, "float32")
    named = harness.sizes_in(graph, arrays)
    for symbol, output in zip(graph.outputs, case.outputs(*arrays), strict=True):
        array = np.asarray(output)
        assert spec_of(symbol).concrete(named) == Spec(array.shape, array.dtype)


@by_row
def test_gradients_have_the_form_of_the_inputs(case: Case) -> None:
    graph = harness.traced_gradient(case, "float32")
    forms = [(s.dims, s.dtype) for s in case.specs("float32")]
    for value in graph.outputs:
        assert (spec_of(value).dims, spec_of(value).dtype) in forms


WRONG: tuple[tuple[str, type[Exception], Callable[..., Any], tuple[tuple[int, ...], ...]], ...] = (
    ("add", ShapeError, ops.add, ((2, 3), (2,))),
    ("maximum", ShapeError, ops.maximum, ((2, 3), (3, 3))),
    ("where", ShapeError, lambda x: ops.where(np.ones((2, 2), bool), x, 0.0), ((2, 3),)),
    ("matmul", ShapeError, ops.matmul, ((2, 3), (2, 3))),
    ("matmul_batches", ShapeError, ops.matmul, ((2, 5, 3), (7, 3, 2))),
    ("matmul_number", ShapeError, ops.matmul, ((2, 3), ())),
    ("reshape", ShapeError, lambda x: ops.reshape(x, (4, 2)), ((2, 3),)),
    ("reshape_rest", ShapeError, lambda x: ops.reshape(x, (-1, 5)), ((2, 3),)),
    ("reshape_two_rests", ShapeError, lambda x: ops.reshape(x, (-1, -1)), ((2, 3),)),
    ("transpose", ShapeError, lambda x: ops.transpose(x, (0, 0)), ((2, 3),)),
    ("transpose_axis", ShapeError, lambda x: ops.transpose(x, (0, 2)), ((2, 3),)),
    ("broadcast_to", ShapeError, lambda x: ops.broadcast_to(x, (2, 5)), ((2, 3),)),
    ("broadcast_to_rank", ShapeError, lambda x: ops.broadcast_to(x, (3,)), ((2, 3),)),
    ("concatenate", ShapeError, lambda x, y: ops.concatenate([x, y]), ((2, 3), (2, 5))),
    ("concatenate_rank", ShapeError, lambda x, y: ops.concatenate([x, y]), ((2, 3), (3,))),
    ("concatenate_axis", ShapeError, lambda x: ops.concatenate([x, x], 2), ((2, 3),)),
    ("slice_short", ShapeError, lambda x: apply(Slice(1, 2, 1, 1), x), ((2, 3),)),
    ("squeeze", ShapeError, lambda x: ops.squeeze(x, 1), ((2, 3),)),
    ("expand_dims", ShapeError, lambda x: ops.expand_dims(x, 4), ((2, 3),)),
    ("flip", ShapeError, lambda x: ops.flip(x, 2), ((2, 3),)),
    ("sum", ShapeError, lambda x: ops.sum(x, 2), ((2, 3),)),
    ("softmax", ShapeError, lambda x: ops.softmax(x, 2), ((2, 3),)),
    ("argmax", ShapeError, lambda x: ops.argmax(x, -3), ((2, 3),)),
    ("take_axis", ShapeError, lambda x: ops.take(x, np.array([0]), 2), ((2, 3),)),
    ("take_floats", DtypeError, lambda x: ops.take(x, np.array([0.0])), ((2, 3),)),
    ("getitem", ShapeError, lambda x: ops.getitem(x, 2), ((2, 3),)),
    ("getitem_rank", ShapeError, lambda x: ops.getitem(x, (0, 0, 0)), ((2, 3),)),
    ("getitem_list", ArgumentError, lambda x: ops.getitem(x, np.array([0, 1])), ((2, 3),)),
    ("cast", DtypeError, lambda x: ops.cast(x, "complex64"), ((2, 3),)),
    ("cast_name", DtypeError, lambda x: ops.cast(x, "floaty"), ((2, 3),)),
    ("lstm_kernel", ShapeError, lambda x, h: ops.lstm(x, (x[0], h, h[0]), (h, h)), ((2, 5, 3), (2, 3))),
    ("conv_channels", ShapeError, ops.conv, ((2, 7, 3), (2, 2, 5))),
    ("conv_rank", ShapeError, ops.conv, ((2, 7, 3), (2, 2, 3, 5))),
    ("conv_small", ShapeError, ops.conv, ((2, 2, 2, 3), (3, 3, 3, 5))),
    ("conv_empty", ShapeError, lambda x, w: ops.conv(x, w, padding="same"), ((2, 0, 3), (2, 3, 5))),
    ("conv_padding", ArgumentError, lambda x, w: ops.conv(x, w, padding="full"), ((2, 7, 3), (2, 3, 5))),
    ("conv_strides", ArgumentError, lambda x, w: ops.conv(x, w, (1, 2)), ((2, 7, 3), (2, 3, 5))),
    ("conv_format", ArgumentError, lambda x, w: ops.conv(x, w, data_format="channels_first"), ((2, 7, 3), (2, 3, 5))),
    ("depthwise_conv", ShapeError, ops.depthwise_conv, ((2, 7, 3), (2, 2, 1))),
    ("conv_transpose", ShapeError, ops.conv_transpose, ((2, 7, 3), (2, 3, 5))),
    ("max_pool_small", ShapeError, lambda x: ops.max_pool(x, 3), ((2, 2, 3),)),
    ("max_pool_size", ArgumentError, lambda x: ops.max_pool(x, (2, 2)), ((2, 7, 3),)),
    ("average_pool_rank", ShapeError, lambda x: ops.average_pool(x, 2), ((2, 7),)),
    ("scan", ShapeError, lambda x: ops.scan(lambda h, s: (ops.concatenate([h, s]), s), x[0], x), ((2, 3),)),
)  # fmt: skip


@pytest.mark.parametrize(("name", "error", "call", "shapes"), WRONG, ids=[w[0] for w in WRONG])
def test_wrong_inputs_raise(name: str, error: type[Exception], call: Any, shapes: Any) -> None:
    """The same error eagerly and at the trace."""
    values = [ops.convert_to_tensor(np.zeros(s, np.float32)) for s in shapes]
    with pytest.raises(error):
        call(*values)
    with pytest.raises(error):
        harness.trace(call, [spec_of(v) for v in values])
