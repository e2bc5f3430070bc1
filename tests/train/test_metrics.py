"""Metrics over several batches against NumPy, with weights and masks, by name, and inside a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.spec import Spec
from graphkit.graph import trace
from graphkit.train import losses, metrics

N = 3
RNG = np.random.default_rng(13)
SIZES = (5, 7, 2)


def batches(kind: str) -> list[tuple[Any, Any, Any]]:
    made = []
    for size in SIZES:
        numbers = RNG.integers(0, N, size).astype(np.int32)
        y_true = {
            "sparse": numbers,
            "one_hot": np.eye(N, dtype=np.float32)[numbers],
            "bits": RNG.integers(0, 2, (size, N)).astype(np.float32),
            "reals": RNG.normal(size=(size, N)).astype(np.float32),
        }[kind]
        y_pred = RNG.dirichlet(np.ones(N), size).astype(np.float32)
        made.append((y_true, y_pred, RNG.uniform(0, 2, size).astype(np.float32)))
    return made


def row_hits(y_true: Any, y_pred: Any) -> Any:
    return (y_true.argmax(-1) == y_pred.argmax(-1)).astype(float)


def top_two(numbers: Any, y_pred: Any) -> Any:
    return [float(n in np.argsort(-row)[:2]) for n, row in zip(numbers, y_pred, strict=True)]


ROWS = [
    (metrics.Accuracy, "bits", lambda y, p: (y == p).mean(-1)),
    (metrics.BinaryAccuracy, "bits", lambda y, p: ((p > 0.5) == y).mean(-1)),
    (metrics.CategoricalAccuracy, "one_hot", row_hits),
    (metrics.SparseCategoricalAccuracy, "sparse", lambda y, p: (y == p.argmax(-1)).astype(float)),
    (metrics.MeanSquaredError, "reals", lambda y, p: ((y - p).astype(float) ** 2).mean(-1)),
    (metrics.MeanAbsoluteError, "reals", lambda y, p: np.abs((y - p).astype(float)).mean(-1)),
    (
        metrics.BinaryCrossentropy,
        "bits",
        lambda y, p: -(y * np.log(p.astype(float)) + (1 - y) * np.log1p(-p.astype(float))).mean(-1),
    ),
    (metrics.CategoricalCrossentropy, "one_hot", lambda y, p: -np.log(p.astype(float)[y > 0])),
    (
        metrics.SparseCategoricalCrossentropy,
        "sparse",
        lambda y, p: -np.log(p.astype(float)[np.arange(len(y)), y]),
    ),
    (lambda: metrics.TopKCategoricalAccuracy(2), "one_hot", lambda y, p: top_two(y.argmax(-1), p)),
    (lambda: metrics.SparseTopKCategoricalAccuracy(2), "sparse", lambda y, p: top_two(y, p)),
    (metrics.MeanAbsolutePercentageError, "reals", lambda y, p: 100 * np.abs(1 - p / y.astype(float)).mean(-1)),
    (metrics.LogCoshError, "reals", lambda y, p: np.log(np.cosh((y - p).astype(float))).mean(-1)),
    (metrics.MeanSquaredLogarithmicError, "bits", lambda y, p: ((np.log1p(p) - np.log1p(y)) ** 2).mean(-1)),
    (
        metrics.CosineSimilarity,
        "reals",
        lambda y, p: (y * p).sum(-1) / np.linalg.norm(y, axis=-1) / np.linalg.norm(p, axis=-1),
    ),
    (metrics.Hinge, "bits", lambda y, p: np.maximum(1 - (2 * y - 1) * p, 0).mean(-1)),
    (metrics.SquaredHinge, "bits", lambda y, p: (np.maximum(1 - (2 * y - 1) * p, 0) ** 2).mean(-1)),
    (metrics.CategoricalHinge, "one_hot", lambda y, p: 1 + ((1 - y) * p).max(-1) - (y * p).sum(-1)),
    (metrics.KLDivergence, "one_hot", lambda y, p: -np.log(p.astype(float)[y > 0])),
    (metrics.Poisson, "bits", lambda y, p: (p - y * np.log(p.astype(float) + 1e-7)).mean(-1)),
    (metrics.PearsonCorrelation, "reals", lambda y, p: [np.corrcoef(a, b)[0, 1] for a, b in zip(y, p, strict=True)]),
    (
        metrics.ConcordanceCorrelation,
        "reals",
        lambda y, p: [
            2 * np.cov(a, b, ddof=0)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2 + 1e-7)
            for a, b in zip(y.astype(float), p.astype(float), strict=True)
        ],
    ),
]


@pytest.mark.parametrize(("kind", "targets", "formula"), ROWS, ids=[row[0]().name for row in ROWS])
@pytest.mark.parametrize("weighted", [False, True])
def test_means_over_batches(kind: Any, targets: str, formula: Any, weighted: bool) -> None:
    metric = kind()
    data = batches(targets)
    values: list[Any] = []
    weights: list[Any] = []
    for y_true, y_pred, w in data:
        metric.update_state(y_true, y_pred, sample_weight=w if weighted else None)
        values.extend(formula(y_true, y_pred))
        weights.extend(w if weighted else np.ones(len(w)))
        np.testing.assert_allclose(metric.result(), np.average(values, weights=weights), rtol=2e-5)
    assert metric.result().dtype == np.float32
    assert [v.dtype for v in metric.variables] == [np.float64, np.float64]
    metric.reset_state()
    assert metric.result().item() == 0.0
    y_true, y_pred, _ = data[0]
    np.testing.assert_allclose(metric(y_true, y_pred), np.mean(formula(y_true, y_pred)), rtol=2e-5)


def test_mean_and_sum_of_values() -> None:
    mean, total = metrics.Mean(), metrics.Sum()
    values = RNG.normal(size=(5, 7)).astype(np.float32)
    weights = RNG.uniform(size=5).astype(np.float32)
    for metric in (mean, total):
        metric.update_state(values, weights)
        metric.update_state(2.5)
    np.testing.assert_allclose(
        mean.result(), ((values * weights[:, None]).sum() / 7 + 2.5) / (weights.sum() + 1), rtol=1e-5
    )
    np.testing.assert_allclose(total.result(), (values * weights[:, None]).sum() + 2.5, rtol=1e-5)


def test_each_sample_counts_alike_whatever_the_length() -> None:
    mean = metrics.Mean()
    mean.update_state(np.ones((2, 3), np.float32))
    mean.update_state(np.zeros((2, 7), np.float32))
    assert mean.result().item() == 0.5


def test_epoch_mean_with_a_short_last_batch() -> None:
    mean = metrics.Mean()
    mean.update_state(np.float32(10.0), sample_weight=np.float32(2))
    mean.update_state(np.float32(9.0), sample_weight=np.float32(1))
    np.testing.assert_allclose(mean.result(), 29 / 3, rtol=1e-6)


def masked(array: Any, mask: Any) -> Any:
    value = ops.convert_to_tensor(array)
    value.mask = ops.convert_to_tensor(mask)
    return value


def test_masked_steps_do_not_count() -> None:
    metric = metrics.get("mae")
    y_pred = masked(np.array([[[2.0], [0.0], [1.0]]], np.float32), np.array([[True, False, True]]))
    y_true = np.array([[[0.0], [5.0], [1.0]]], np.float32)
    assert metric(y_true, y_pred).item() == losses.get("mae")(y_true, y_pred).item() == 1.0
    assert metric(y_true, masked(y_pred, np.zeros((1, 3), bool))).item() == 1.0


def test_padding_never_changes_the_figure() -> None:
    metric = metrics.SparseCategoricalAccuracy()
    hits, live = 0.0, 0
    for length in (5, 11):
        y_true = RNG.integers(0, N, (2, length))
        y_pred = RNG.normal(size=(2, length, N)).astype(np.float32)
        mask = RNG.random((2, length)) < 0.4
        mask[:, 0] = True
        metric.update_state(y_true, masked(y_pred, mask))
        hits += float(((y_pred.argmax(-1) == y_true) & mask).sum())
        live += int(mask.sum())
    np.testing.assert_allclose(metric.result(), hits / live, rtol=1e-6)


FLOAT = np.dtype("float32")


@pytest.mark.parametrize(
    ("true", "pred", "accuracy", "crossentropy"),
    [
        ((5, 1), (5, 1), metrics.BinaryAccuracy, metrics.BinaryCrossentropy),
        ((5,), (5, 1), metrics.BinaryAccuracy, metrics.BinaryCrossentropy),
        ((5, 3), (5, 3), metrics.CategoricalAccuracy, metrics.CategoricalCrossentropy),
        ((5,), (5, 3), metrics.SparseCategoricalAccuracy, metrics.SparseCategoricalCrossentropy),
        ((5, 1), (5, 3), metrics.SparseCategoricalAccuracy, metrics.SparseCategoricalCrossentropy),
        ((5, 7), (5, 7, 3), metrics.SparseCategoricalAccuracy, metrics.SparseCategoricalCrossentropy),
    ],
)
def test_names_settled_by_shapes(true: Any, pred: Any, accuracy: Any, crossentropy: Any) -> None:
    specs = Spec(true, FLOAT), Spec(pred, FLOAT)
    for name, kind in {
        "accuracy": accuracy,
        "acc": accuracy,
        "crossentropy": crossentropy,
        "ce": crossentropy,
    }.items():
        found = metrics.get(name, *specs)
        assert type(found) is kind
        assert found.name == name


def test_get() -> None:
    assert metrics.get("mse").name == "mse"
    assert type(metrics.get(metrics.BinaryAccuracy)) is metrics.BinaryAccuracy
    largest = metrics.get(largest_error)
    assert largest.name == "largest_error"
    assert largest(np.zeros((2, 3), np.float32), np.array([[1, 2, 3], [3, 4, 5]], np.float32)).item() == 4.0
    with pytest.raises(ArgumentError, match="'accuracy'"):
        metrics.get("acuracy")


def largest_error(y_true: Any, y_pred: Any) -> Any:
    return ops.max(ops.absolute(y_true - y_pred), -1)


def test_broadcasting_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(5, 1\).*\(5, 3\)"):
        metrics.BinaryAccuracy().update_state(np.zeros((5, 1)), np.zeros((5, 3)))


def test_state_of_a_metric_of_metrics_is_found() -> None:
    class Both(metrics.Metric):
        def __init__(self) -> None:
            super().__init__()
            self.parts = {"mean": metrics.Mean(), "own": [self.add_weight(name="hits")]}

    both = Both()
    assert len(both.variables) == 3
    assert both.name == "both"
    assert Both().name == "both_1"


def test_in_a_trace_totals_are_state() -> None:
    metric = metrics.SparseCategoricalAccuracy()

    def step(y: Any, x: Any) -> tuple[Any, ...]:
        metric.update_state(y, x)
        return (metric.result(),)

    graph, _ = trace.run(step, [Spec((5,), np.dtype("int32")), Spec((5, N), FLOAT)], may_create=False)
    assert {v.path for v, _ in graph.updates} == {v.path for v in metric.variables}
    assert all(value.dtype == np.float64 for _, value in graph.updates)
    assert metric.result().item() == 0.0
