"""Counts at thresholds, the curves drawn from them, scores and intersections, against loops over the samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.spec import Spec
from graphkit.graph import trace
from graphkit.train import metrics

RNG = np.random.default_rng(23)
SIZES = (7, 13, 5)
N = 3
Batch = tuple[Any, Any, Any]


def batches(columns: int | None = None, one_hot: bool = False) -> list[Batch]:
    """(y_true, y_pred, weights) for each batch; scores keep clear of round thresholds."""
    made = []
    for size in SIZES:
        shape = (size,) if columns is None else (size, columns)
        y_true = RNG.integers(0, 2, shape).astype(np.float32)
        if one_hot:
            y_true = np.eye(columns, dtype=np.float32)[RNG.integers(0, columns, size)]
        y_pred = (RNG.integers(0, 97, shape) + 0.37) / 97.74
        made.append((y_true, y_pred.astype(np.float32), RNG.uniform(0, 2, size).astype(np.float32)))
    return made


def together(data: list[Batch], weighted: bool) -> tuple[Any, Any, Any]:
    """All batches as one, in float64, with a weight for each element."""
    y_true, y_pred = (np.concatenate([b[i] for b in data]).astype(np.float64) for i in (0, 1))
    w = np.concatenate([b[2] for b in data]) if weighted else np.ones(len(y_true))
    return y_true, y_pred, np.broadcast_to(w.reshape(-1, *[1] * (y_true.ndim - 1)), y_true.shape).astype(np.float64)


def counted(y: Any, p: Any, w: Any, threshold: float) -> tuple[float, float, float, float]:
    """tp, tn, fp, fn, one element at a time."""
    found = {(a, b): 0.0 for a in (True, False) for b in (True, False)}
    for true, score, weight in zip(y.ravel(), p.ravel(), w.ravel(), strict=True):
        found[true > 0, score > threshold] += weight
    return found[True, True], found[False, False], found[False, True], found[True, False]


def share(a: float, b: float) -> float:
    return a / b if b else 0.0


def levels(number: int) -> list[float]:
    return [-1e-7, *[i / (number - 1) for i in range(1, number - 1)], 1 + 1e-7]


def curve(y: Any, p: Any, w: Any, thresholds: list[float]) -> Any:
    return np.array([counted(y, p, w, t) for t in thresholds]).T


def area(y: Any, p: Any, w: Any, number: int = 200, kind: str = "ROC", height: Callable[..., Any] | None = None) -> Any:
    tp, tn, fp, fn = curve(y, p, w, levels(number))
    if kind == "PR":
        x, h = (
            [share(a, a + b) for a, b in zip(tp, fn, strict=True)],
            [share(*v) for v in zip(tp, tp + fp, strict=True)],
        )
    else:
        x, h = fp / (fp + tn), tp / (tp + fn)
    heights = height or (lambda a, b: (a + b) / 2)
    return sum((x[i] - x[i + 1]) * heights(h[i], h[i + 1]) for i in range(number - 1))


def davis(y: Any, p: Any, w: Any, number: int = 200) -> float:
    """Davis and Goadrich's area: precision integrated over many points between two counts."""
    tp, _, fp, fn = curve(y, p, w, levels(number))
    total = 0.0
    for i in range(number - 1):
        hits, all_ = np.linspace(tp[i + 1], tp[i], 20001), np.linspace(tp[i + 1] + fp[i + 1], tp[i] + fp[i], 20001)
        if all_[0] == 0:
            total += (tp[i] - tp[i + 1]) * share(tp[i], tp[i] + fp[i])
        else:
            total += float(np.trapezoid(hits / all_, hits))
    return total / (tp + fn)[0]


FLAT: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "precision": (metrics.Precision, lambda y, p, w: share(*np.cumsum(np.take(counted(y, p, w, 0.5), [0, 2])))),
    "recall": (metrics.Recall, lambda y, p, w: share(*np.cumsum(np.take(counted(y, p, w, 0.5), [0, 3])))),
    "true_positives": (metrics.TruePositives, lambda y, p, w: counted(y, p, w, 0.5)[0]),
    "true_negatives": (lambda: metrics.TrueNegatives(0.3), lambda y, p, w: counted(y, p, w, 0.3)[1]),
    "false_positives": (metrics.FalsePositives, lambda y, p, w: counted(y, p, w, 0.5)[2]),
    "false_negatives": (
        lambda: metrics.FalseNegatives([0.2, 0.7]),
        lambda y, p, w: [counted(y, p, w, t)[3] for t in (0.2, 0.7)],
    ),
    "auc": (metrics.AUC, area),
    "auc_few": (lambda: metrics.AUC(11), lambda y, p, w: area(y, p, w, 11)),
    "auc_minoring": (
        lambda: metrics.AUC(11, summation_method="minoring"),
        lambda y, p, w: area(y, p, w, 11, height=min),
    ),
    "auc_majoring": (
        lambda: metrics.AUC(11, "PR", "majoring"),
        lambda y, p, w: area(y, p, w, 11, "PR", max),
    ),
    "auc_pr": (lambda: metrics.AUC(curve="PR"), davis),
    "precision_at_recall": (
        lambda: metrics.PrecisionAtRecall(0.6),
        lambda y, p, w: best(y, p, w, 0.6, (0, 3), (0, 2)),
    ),
    "recall_at_precision": (
        lambda: metrics.RecallAtPrecision(0.5),
        lambda y, p, w: best(y, p, w, 0.5, (0, 2), (0, 3)),
    ),
    "sensitivity": (
        lambda: metrics.SensitivityAtSpecificity(0.4),
        lambda y, p, w: best(y, p, w, 0.4, (1, 2), (0, 3)),
    ),
    "specificity": (
        lambda: metrics.SpecificityAtSensitivity(0.4),
        lambda y, p, w: best(y, p, w, 0.4, (0, 3), (1, 2)),
    ),
}


def best(y: Any, p: Any, w: Any, bound: float, bounded: Any, wanted: Any) -> float:
    found = 0.0
    for t in [0.0, *levels(200)[1:-1], 1.0]:
        counts = counted(y, p, w, t)
        one, other = (share(counts[a], counts[a] + counts[b]) for a, b in (bounded, wanted))
        found = max(found, other if one >= bound else 0.0)
    return found


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_figures_over_batches(name: str, weighted: bool) -> None:
    make, formula = FLAT[name]
    metric, data = make(), batches()
    for number, (y_true, y_pred, w) in enumerate(data, 1):
        metric.update_state(y_true, y_pred, sample_weight=w if weighted else None)
        want = formula(*together(data[:number], weighted))
        np.testing.assert_allclose(metric.result(), want, rtol=1e-5, atol=1e-6)
    assert metric.result().dtype == np.float32
    assert {v.dtype.name for v in metric.variables} == {"float64"}
    metric.reset_state()
    assert not np.asarray(metric.result()).any()


def test_masked_steps_and_other_axes_do_not_count() -> None:
    y_true = RNG.integers(0, 2, (5, 7)).astype(np.float32)
    scores = RNG.random((5, 7)).astype(np.float32)
    mask = RNG.random((5, 7)) < 0.6
    y_pred = ops.convert_to_tensor(scores)
    y_pred.mask = ops.convert_to_tensor(mask)
    for make in (metrics.AUC, metrics.Precision, metrics.Recall, metrics.FalsePositives):
        whole, live = make(), make()
        whole.update_state(y_true, y_pred)
        live.update_state(y_true[mask], scores[mask])
        np.testing.assert_allclose(whole.result(), live.result(), rtol=1e-6)


def test_the_k_largest_of_each_row() -> None:
    metric, recall, hits, wrong, missed = metrics.Precision(top_k=2), metrics.Recall(top_k=2), 0, 0, 0
    for y_true, y_pred, _ in batches(N):
        metric.update_state(y_true, y_pred)
        recall.update_state(y_true, y_pred)
        for row, scores in zip(y_true, y_pred, strict=True):
            top = np.argsort(-scores, kind="stable")[:2]
            hits += int(row[top].sum())
            wrong += int((1 - row[top]).sum())
            missed += int(row.sum() - row[top].sum())
    np.testing.assert_allclose(metric.result(), hits / (hits + wrong), rtol=1e-6)
    np.testing.assert_allclose(recall.result(), hits / (hits + missed), rtol=1e-6)


def test_one_class_alone() -> None:
    metric, data = metrics.Precision(class_id=2), batches(N)
    for y_true, y_pred, w in data:
        metric.update_state(y_true, y_pred, w)
    y, p, w = together(data, True)
    tp, _, fp, _ = counted(y[:, 2], p[:, 2], w[:, 2], 0.5)
    np.testing.assert_allclose(metric.result(), tp / (tp + fp), rtol=1e-6)


def test_the_area_of_several_labels() -> None:
    data = batches(N)
    y, p, w = together(data, True)
    each = np.array([area(y[:, i], p[:, i], w[:, i]) for i in range(N)])
    for given, want in (({"num_labels": N}, each.mean()), ({"label_weights": [1, 2, 5]}, each @ [1, 2, 5] / 8)):
        metric = metrics.AUC(multi_label=True, **given)
        for batch in data:
            metric.update_state(*batch)
        np.testing.assert_allclose(metric.result(), want, rtol=1e-5)
    flat = metrics.AUC()
    logits = metrics.AUC(from_logits=True)
    for y_true, y_pred, _ in data:
        flat.update_state(y_true, y_pred)
        logits.update_state(y_true, np.log(y_pred / (1 - y_pred)))
    np.testing.assert_allclose(flat.result(), area(*together(data, False)), rtol=1e-5)
    np.testing.assert_allclose(logits.result(), flat.result(), rtol=1e-5)


# scores


def f_scores(y: Any, p: Any, w: Any, beta: float, average: str | None) -> Any:
    tp, fp, fn = ((w * a).sum(0) for a in (y * p, (1 - y) * p, y * (1 - p)))
    if average == "micro":
        tp, fp, fn = tp.sum(), fp.sum(), fn.sum()
    found = (1 + beta**2) * tp / ((1 + beta**2) * tp + beta**2 * fn + fp)
    if average == "weighted":
        return (found * (w * y).sum(0)).sum() / (w * y).sum()
    return found.mean() if average == "macro" else found


@pytest.mark.parametrize("average", [None, "micro", "macro", "weighted"])
@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize("threshold", [None, 0.4])
def test_f_scores(average: str | None, beta: float, threshold: float | None) -> None:
    metric, data = metrics.FBetaScore(average, beta, threshold), batches(N, one_hot=True)
    assert metric.result().item() == 0.0
    for batch in data:
        metric.update_state(*batch)
    y, p, w = together(data, True)
    positive = p > threshold if threshold else p == p.max(-1, keepdims=True)
    np.testing.assert_allclose(metric.result(), f_scores(y, positive * 1.0, w, beta, average), rtol=1e-5)
    if beta == 1.0:
        same = metrics.F1Score(average, threshold)
        for batch in data:
            same.update_state(*batch)
        np.testing.assert_array_equal(same.result(), metric.result())


@pytest.mark.parametrize("aggregation", ["uniform_average", "variance_weighted_average", None])
@pytest.mark.parametrize("regressors", [0, 2])
def test_r2(aggregation: str | None, regressors: int) -> None:
    metric = metrics.R2Score(aggregation, regressors)
    assert metric.result().item() == 0.0
    data = [(RNG.normal(size=(s, N)).astype(np.float32), y, w) for s, (_, y, w) in zip(SIZES, batches(N), strict=True)]
    for batch in data:
        metric.update_state(*batch)
    y, p, w = together(data, True)
    spread = (w * (y - (w * y).sum(0) / w.sum(0)) ** 2).sum(0)
    each = 1 - (w * (y - p) ** 2).sum(0) / spread
    want = {"uniform_average": each.mean(), "variance_weighted_average": (each * spread).sum() / spread.sum()}
    found = want.get(str(aggregation), each)
    if regressors:
        found = 1 - (1 - found) * (len(y) - 1) / (len(y) - regressors - 1)
    np.testing.assert_allclose(metric.result(), found, rtol=1e-5)


def test_r2_of_a_vector_and_of_what_does_not_vary() -> None:
    y = RNG.normal(size=7).astype(np.float32)
    assert metrics.R2Score()(y, y).item() == 1.0
    assert metrics.R2Score()(np.ones(7, np.float32), y).item() == 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_root_mean_squared_error(weighted: bool) -> None:
    metric, data = metrics.RootMeanSquaredError(), batches(N)
    for y_true, y_pred, w in data:
        metric.update_state(y_true, y_pred, w if weighted else None)
    y, p, w = together(data, weighted)
    np.testing.assert_allclose(metric.result(), np.sqrt((w * (y - p) ** 2).sum() / w.sum()), rtol=1e-6)


def test_intersections_over_unions() -> None:
    y_true, y_pred = RNG.integers(0, 4, (2, 37)), RNG.integers(0, 4, (2, 37))

    def of(k: int, live: Any) -> float:
        one, other = (y_true == k) & live, (y_pred == k) & live
        return (one & other).sum() / (one | other).sum()

    everywhere, not_zero = np.ones((2, 37), bool), y_true != 0
    hot, scores = np.eye(4)[y_true], np.eye(4)[y_pred] * 0.7
    for metric, inputs, want in (
        (metrics.MeanIoU(4), (y_true, y_pred), [of(k, everywhere) for k in range(4)]),
        (metrics.IoU(4, [1, 3]), (y_true, y_pred), [of(k, everywhere) for k in (1, 3)]),
        (metrics.MeanIoU(5, ignore_class=0), (y_true, y_pred), [of(k, not_zero) for k in range(4)]),
        (metrics.OneHotIoU(4, [0, 2]), (hot, scores), [of(k, everywhere) for k in (0, 2)]),
        (metrics.OneHotMeanIoU(4), (hot, scores), [of(k, everywhere) for k in range(4)]),
    ):
        np.testing.assert_allclose(metric(*inputs), np.mean(want), rtol=1e-6)
    binary = metrics.BinaryIoU([1], 0.5)
    bits, chances = RNG.integers(0, 2, 37), RNG.random(37)
    want = ((bits == 1) & (chances >= 0.5)).sum() / ((bits == 1) | (chances >= 0.5)).sum()
    np.testing.assert_allclose(binary(bits, chances), want, rtol=1e-6)
    weights = np.where(y_true == 1, 0, 1)
    np.testing.assert_allclose(
        metrics.IoU(4, [1])(y_true, y_pred, weights), 0.0, err_msg="weights of 0 leave an element out"
    )


# in a trace, and refusals


@pytest.mark.parametrize(
    "make", [metrics.AUC, metrics.Precision, metrics.F1Score, metrics.R2Score, metrics.RootMeanSquaredError]
)
def test_in_a_trace_totals_are_state(make: Any) -> None:
    metric = make()
    metric(np.ones((5, N), np.float32), np.ones((5, N), np.float32))

    def step(y: Any, x: Any) -> tuple[Any, ...]:
        metric.update_state(y, x)
        return (metric.result(),)

    float32 = np.dtype("float32")
    graph, _ = trace.run(step, [Spec((5, N), float32), Spec((5, N), float32)], may_create=False)
    assert {v.path for v, _ in graph.updates} == {v.path for v in metric.variables}


@pytest.mark.parametrize(
    ("error", "make", "match"),
    [
        (ArgumentError, lambda: metrics.Precision(1.5), "between 0 and 1"),
        (ArgumentError, lambda: metrics.AUC(curve="PRG"), "curve"),
        (ArgumentError, lambda: metrics.AUC(summation_method="middle"), "summation_method"),
        (ArgumentError, lambda: metrics.AUC(1), "num_thresholds"),
        (ArgumentError, lambda: metrics.AUC(thresholds=[2.0]), "between 0 and 1"),
        (ArgumentError, lambda: metrics.AUC(multi_label=True), "num_labels"),
        (ArgumentError, lambda: metrics.AUC(multi_label=True, num_labels=2)(np.ones((5, 3)), np.ones((5, 3))), "3 col"),
        (ArgumentError, lambda: metrics.RecallAtPrecision(1.2), "precision"),
        (ArgumentError, lambda: metrics.RecallAtPrecision(0.2, 0), "num_thresholds"),
        (ArgumentError, lambda: metrics.FBetaScore("mean"), "average"),
        (ArgumentError, lambda: metrics.FBetaScore(beta=0), "beta"),
        (ArgumentError, lambda: metrics.FBetaScore(threshold=2.0), "threshold"),
        (ArgumentError, lambda: metrics.R2Score("sum"), "class_aggregation"),
        (ArgumentError, lambda: metrics.R2Score(num_regressors=-1), "num_regressors"),
        (ArgumentError, lambda: metrics.IoU(3, [3]), "target_class_ids"),
        (ArgumentError, lambda: metrics.TopKCategoricalAccuracy(0), "k must be"),
        (ShapeError, lambda: metrics.F1Score()(np.ones(5), np.ones(5)), "batch, n"),
        (ShapeError, lambda: metrics.Precision()(np.ones((5, 1)), np.ones((5, 3))), "one shape"),
    ],
)
def test_refusals(error: Any, make: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def test_columns_may_not_change() -> None:
    metric = metrics.F1Score()
    metric(np.ones((5, 3)), np.ones((5, 3)))
    with pytest.raises(ShapeError, match="3 columns, got 2"):
        metric(np.ones((5, 2)), np.ones((5, 2)))
