"""Each layer of the table: shapes, numbers, gradients, eager and planned, saved, exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from graphkit import GradientTape, Input, Model, layers, ops, testing
from graphkit.core import tree
from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import is_float
from graphkit.core.spec import Spec
from graphkit.graph.trace import run as trace
from tests.layers.cases import APART, ROWS, B, Row, T
from tests.ops.harness import close, planned, same

SLOPED = [row for row in ROWS if not row.flat]
each_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


def arrays_of(row: Row, batch: int = B, time: int = T, dtype: str = "float32") -> list[np.ndarray]:
    return [given.array(batch, time, dtype) for given in row.inputs]


def outputs(row: Row, layer: Any, values: Any) -> list[Any]:
    return tree.leaves(row.call(layer, *values))


def eager(row: Row, layer: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(o) for o in outputs(row, layer, [ops.convert_to_tensor(a) for a in arrays])]


def expected(row: Row, layer: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    wide = [a.astype(np.float64) if is_float(a.dtype) else a for a in arrays]
    return tree.leaves(row.want(wide, [w.astype(np.float64) for w in layer.get_weights()]))


def symbols_of(row: Row) -> list[Any]:
    free = {"b": None, "t": None}
    return [
        Input(batch_shape=[free.get(d, d) for d in given.dims], dtype=given.dtype, name=f"in_{i}")
        for i, given in enumerate(row.inputs)
    ]


def model_of(row: Row) -> Model:
    symbols = symbols_of(row)
    return Model(symbols, row.call(row.make(), *symbols))


def answers_the_same(session: Any, row: Row, model: Model, batch: int, time: int) -> None:
    """onnxruntime gives the row's reference, in the row's dtype."""
    arrays = arrays_of(row, batch, time)
    found = session.run(None, {f"in_{i}": a for i, a in enumerate(arrays)})
    for got, want in zip(found, expected(row, model, arrays), strict=True):
        close(got, want, 1e-5, row.name)
        assert got.dtype == row.dtype


def test_the_table_holds_every_layer() -> None:
    kinds = {type(row.make()).__name__ for row in ROWS}
    assert kinds | APART == set(layers.__all__)
    assert not kinds & APART


@each_row
def test_symbolic_shape_is_the_actual_one(row: Row) -> None:
    model = model_of(row)
    for batch, time in ((B, T), (1, 7)):
        found = eager(row, model.layers[-1], arrays_of(row, batch, time))
        for symbol, array in zip(model.outputs, found, strict=True):
            assert symbol.shape[0] is None
            assert symbol.dtype == array.dtype
            assert len(symbol.shape) == array.ndim
            assert all(s in (None, n) for s, n in zip(symbol.shape, array.shape, strict=True))


@each_row
def test_forward_is_the_reference(row: Row) -> None:
    layer = row.make()
    for batch, time in ((B, T), (5, 7), (1, 1), (0, T)):
        arrays = arrays_of(row, batch, time)
        found = eager(row, layer, arrays)
        for got, want in zip(found, expected(row, layer, arrays), strict=True):
            close(got, want, 2e-6, row.name)
            assert got.dtype == row.dtype


@pytest.mark.parametrize("row", SLOPED, ids=[row.name for row in SLOPED])
def test_gradients_are_central_differences(row: Row) -> None:
    rng, step = np.random.default_rng(3), 1e-5
    with testing.float64():
        layer = row.make()
        arrays = arrays_of(row, 5, T, "float64")
        values = [ops.convert_to_tensor(a) for a in arrays]
        us = [rng.normal(size=o.shape) for o in eager(row, layer, arrays)]
        assert all(o.dtype == np.float64 for o in eager(row, layer, arrays))
        floats = [v for v in values if is_float(v.dtype)]
        with GradientTape() as tape:
            tape.watch(floats)
            found = outputs(row, layer, values)
        gradients = tape.gradient(found, [layer.trainable_weights, floats], output_gradients=us)

        def along() -> float:
            return sum(float((y * u).sum()) for y, u in zip(eager(row, layer, arrays), us, strict=True))

        places = [w.array for w in layer.trainable_weights] + [a for a in arrays if is_float(a.dtype)]
        assert places
        for place, gradient in zip(places, tree.leaves(gradients), strict=True):
            assert gradient is not None
            assert np.asarray(gradient).any(), "a parameter that the output does not depend on"
            assert gradient.shape == place.shape
            v, kept = rng.normal(size=place.shape), place.copy()
            place[...] = kept + step * v
            above = along()
            place[...] = kept - step * v
            want = (above - along()) / (2 * step)
            place[...] = kept
            close(float((np.asarray(gradient) * v).sum()), want, 1e-6, row.name)


@each_row
def test_eager_is_the_plan(row: Row) -> None:
    layer = row.make()
    arrays = arrays_of(row)
    want = eager(row, layer, arrays)
    free = {d: Dimension.named(d) for d in "bt"}
    specs = [Spec(tuple(free.get(d, d) for d in g.dims), a.dtype) for g, a in zip(row.inputs, arrays, strict=True)]
    graph, _ = trace(lambda *values: outputs(row, layer, values), specs)
    for got, value in zip(planned(graph, arrays)(*arrays), want, strict=True):
        same(got, value, row.name)


@each_row
def test_weights_go_to_another(row: Row) -> None:
    one, other = row.make(), row.make()
    arrays = arrays_of(row)
    want = eager(row, one, arrays)
    eager(row, other, arrays)
    other.set_weights(one.get_weights())
    for got, value in zip(eager(row, other, arrays), want, strict=True):
        same(got, value, row.name)
    for copy in one.get_weights():
        copy[...] = 99
    same(eager(row, one, arrays)[0], want[0], "what get_weights gives is the caller's own")


@each_row
def test_exported_it_answers_the_same(row: Row, tmp_path: Path) -> None:
    model = model_of(row)
    path = tmp_path / "model.onnx"
    model.export(path, verify=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch, time in ((1, 1), (3, T), (7, 13), (5, 2), (0, T)):
        answers_the_same(session, row, model, batch, time)
