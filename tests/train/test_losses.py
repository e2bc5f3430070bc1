"""Losses against float64 formulas written apart, their masks, their refusals, and their compiled form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.autodiff import GradientTape, check_grads
from graphkit.core.dimension import Dimension
from graphkit.core.errors import ArgumentError, GraphkitError, RangeError, ShapeError
from graphkit.core.spec import Spec
from graphkit.graph import trace
from graphkit.ops.loss import softmax_crossentropy
from graphkit.train import losses
from tests.ops import harness

B, T, N = 5, 7, 3
RNG = np.random.default_rng(11)
CLASS_NUMBERS = RNG.integers(0, N, B).astype(np.int32)
ONE_HOT = np.eye(N, dtype=np.float32)[CLASS_NUMBERS]
LOGITS = (3 * RNG.normal(size=(B, N))).astype(np.float32)
PROBABILITIES = RNG.dirichlet(np.ones(N), B).astype(np.float32)
SIGMOIDS = RNG.uniform(0.02, 0.98, (B, N)).astype(np.float32)
BITS = RNG.integers(0, 2, (B, N)).astype(np.float32)
REALS = RNG.normal(size=(B, N)).astype(np.float32)
WEIGHTS = RNG.uniform(0.0, 2.0, B).astype(np.float32)
POSITIVES = RNG.uniform(0.5, 2.0, (B, N)).astype(np.float32)
DISTRIBUTIONS = RNG.dirichlet(np.ones(N), B).astype(np.float32)


def log_softmax(x: Any) -> Any:
    x = x.astype(np.float64)
    return x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True)


def bce(y: Any, p: Any) -> Any:
    y, p = y.astype(np.float64), p.astype(np.float64)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p)).mean(-1)


def wide(x: Any) -> Any:
    return x.astype(np.float64)


def huber(error: Any, delta: float) -> Any:
    size = np.abs(wide(error))
    return np.where(size <= delta, size**2 / 2, delta * size - delta**2 / 2).mean(-1)


def cosines(y: Any, p: Any) -> Any:
    return np.array([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(wide(y), wide(p), strict=True)])


def focal(y: Any, p: Any, gamma: float) -> Any:
    likely = np.where(y, p, 1 - p)
    return -((1 - likely) ** gamma) * np.log(likely)


def overlap(y: Any, p: Any, missed: float, invented: float) -> Any:
    both = (y * p).sum(-1)
    return both / (both + missed * (y * (1 - p)).sum(-1) + invented * ((1 - y) * p).sum(-1) + 1e-7)


ROWS = [
    (losses.MeanSquaredError(), REALS, LOGITS, ((wide(REALS) - wide(LOGITS)) ** 2).mean(-1)),
    (losses.MeanAbsoluteError(), REALS, LOGITS, np.abs(wide(REALS) - wide(LOGITS)).mean(-1)),
    (losses.BinaryCrossentropy(), BITS, SIGMOIDS, bce(BITS, SIGMOIDS)),
    (losses.BinaryCrossentropy(label_smoothing=0.2), BITS, SIGMOIDS, bce(BITS * 0.8 + 0.1, SIGMOIDS)),
    (losses.BinaryCrossentropy(from_logits=True), BITS, LOGITS, bce(BITS, 1 / (1 + np.exp(-wide(LOGITS))))),
    (losses.CategoricalCrossentropy(), ONE_HOT, PROBABILITIES, -np.log(wide(PROBABILITIES)[ONE_HOT > 0])),
    (losses.CategoricalCrossentropy(from_logits=True), ONE_HOT, LOGITS, -log_softmax(LOGITS)[ONE_HOT > 0]),
    (
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3),
        ONE_HOT,
        LOGITS,
        -((wide(ONE_HOT) * 0.7 + 0.1) * log_softmax(LOGITS)).sum(-1),
    ),
    (
        losses.SparseCategoricalCrossentropy(),
        CLASS_NUMBERS,
        PROBABILITIES,
        -np.log(wide(PROBABILITIES)[ONE_HOT > 0]),
    ),
    (
        losses.SparseCategoricalCrossentropy(from_logits=True),
        CLASS_NUMBERS,
        LOGITS,
        -log_softmax(LOGITS)[ONE_HOT > 0],
    ),
    (losses.MeanAbsolutePercentageError(), POSITIVES, LOGITS, (abs(1 - wide(LOGITS) / wide(POSITIVES)) * 100).mean(-1)),
    (
        losses.MeanSquaredLogarithmicError(),
        POSITIVES,
        SIGMOIDS,
        ((np.log1p(wide(SIGMOIDS)) - np.log1p(wide(POSITIVES))) ** 2).mean(-1),
    ),
    (losses.Huber(), REALS, LOGITS, huber(LOGITS - REALS, 1.0)),
    (losses.Huber(delta=0.3), REALS, LOGITS, huber(LOGITS - REALS, 0.3)),
    (losses.LogCosh(), REALS, LOGITS, np.log(np.cosh(wide(LOGITS) - wide(REALS))).mean(-1)),
    (losses.CosineSimilarity(), REALS, LOGITS, -cosines(REALS, LOGITS)),
    (losses.Hinge(), 2 * BITS - 1, LOGITS, np.maximum(1 - wide(2 * BITS - 1) * LOGITS, 0).mean(-1)),
    (losses.Hinge(), BITS, LOGITS, np.maximum(1 - wide(2 * BITS - 1) * LOGITS, 0).mean(-1)),
    (losses.SquaredHinge(), BITS, LOGITS, (np.maximum(1 - wide(2 * BITS - 1) * LOGITS, 0) ** 2).mean(-1)),
    (
        losses.CategoricalHinge(),
        ONE_HOT,
        LOGITS,
        np.maximum(1 + ((1 - wide(ONE_HOT)) * LOGITS).max(-1) - (wide(ONE_HOT) * LOGITS).sum(-1), 0),
    ),
    (
        losses.KLDivergence(),
        DISTRIBUTIONS,
        PROBABILITIES,
        (wide(DISTRIBUTIONS) * np.log(wide(DISTRIBUTIONS) / wide(PROBABILITIES))).sum(-1),
    ),
    (losses.Poisson(), POSITIVES, SIGMOIDS, (wide(SIGMOIDS) - POSITIVES * np.log(wide(SIGMOIDS) + 1e-7)).mean(-1)),
    (losses.BinaryFocalCrossentropy(), BITS, SIGMOIDS, focal(BITS, wide(SIGMOIDS), 2.0).mean(-1)),
    (
        losses.BinaryFocalCrossentropy(True, 0.3, 1.5, from_logits=True),
        BITS,
        LOGITS,
        (focal(BITS, 1 / (1 + np.exp(-wide(LOGITS))), 1.5) * np.where(BITS, 0.3, 0.7)).mean(-1),
    ),
    (
        losses.CategoricalFocalCrossentropy(0.4, 1.5),
        ONE_HOT,
        PROBABILITIES,
        -(0.4 * (1 - wide(PROBABILITIES)) ** 1.5 * ONE_HOT * np.log(wide(PROBABILITIES))).sum(-1),
    ),
    (
        losses.CategoricalGeneralizedCrossEntropy(0.7),
        CLASS_NUMBERS,
        PROBABILITIES,
        (1 - wide(PROBABILITIES)[ONE_HOT > 0] ** 0.7) / 0.7,
    ),
    (losses.Dice(axis=-1), BITS, SIGMOIDS, 1 - 2 * (BITS * wide(SIGMOIDS)).sum(-1) / (BITS + wide(SIGMOIDS)).sum(-1)),
    (losses.Tversky(0.3, 0.6, axis=-1), BITS, SIGMOIDS, 1 - overlap(wide(BITS), wide(SIGMOIDS), 0.3, 0.6)),
]
ids = [f"{row[0].name}{i}" for i, row in enumerate(ROWS)]


@pytest.mark.parametrize(("loss", "y_true", "y_pred", "want"), ROWS, ids=ids)
def test_values_weights_and_reductions(loss: Any, y_true: Any, y_pred: Any, want: Any) -> None:
    cases = {
        "none": want * WEIGHTS,
        "sum": (want * WEIGHTS).sum(),
        "sum_over_batch_size": (want * WEIGHTS).sum() / B,
        "mean_with_sample_weight": (want * WEIGHTS).sum() / wide(WEIGHTS).sum(),
    }
    for reduction, expected in cases.items():
        loss.reduction = reduction
        np.testing.assert_allclose(loss(y_true, y_pred, WEIGHTS), expected, rtol=2e-5, atol=2e-6)
    loss.reduction = "sum_over_batch_size"
    got = loss(y_true, y_pred)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want.mean(), rtol=2e-5)


@pytest.mark.parametrize(("loss", "y_true", "y_pred", "want"), ROWS, ids=ids)
def test_compiled_form_is_the_same(loss: Any, y_true: Any, y_pred: Any, want: Any) -> None:
    batch = Dimension.named("batch")

    def step(x: Any, y: Any, w: Any) -> tuple[Any, ...]:
        with GradientTape() as tape:
            tape.watch(x)
            value = loss(y, x, w)
        return value, tape.gradient(value, x)

    arrays = (y_pred, y_true, WEIGHTS)
    graph, _ = trace.run(step, [Spec((batch, *a.shape[1:]), a.dtype) for a in arrays])
    value, gradient = harness.planned(graph, arrays)(*arrays)
    np.testing.assert_allclose(value, (want * WEIGHTS).mean(), rtol=2e-5)
    x = ops.convert_to_tensor(y_pred)
    eager = step(x, y_true, WEIGHTS)[1]
    np.testing.assert_allclose(gradient, eager, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred"),
    [
        (losses.mean_squared_error, REALS, LOGITS),
        (losses.mean_absolute_error, REALS, LOGITS),
        (losses.binary_crossentropy, BITS, SIGMOIDS),
        (lambda y, x: losses.binary_crossentropy(y, x, from_logits=True), BITS, LOGITS),
        (losses.categorical_crossentropy, ONE_HOT, PROBABILITIES),
        (lambda y, x: losses.categorical_crossentropy(y, x, from_logits=True), ONE_HOT, LOGITS),
        (lambda y, x: losses.sparse_categorical_crossentropy(y, x, from_logits=True), CLASS_NUMBERS, LOGITS),
        (losses.mean_absolute_percentage_error, POSITIVES, LOGITS),
        (losses.mean_squared_logarithmic_error, POSITIVES, SIGMOIDS),
        (losses.huber, REALS, LOGITS),
        (losses.log_cosh, REALS, LOGITS),
        (losses.cosine_similarity, REALS, LOGITS),
        (losses.squared_hinge, BITS, LOGITS),
        (losses.kl_divergence, DISTRIBUTIONS, SIGMOIDS),
        (losses.poisson, POSITIVES, SIGMOIDS),
        (losses.binary_focal_crossentropy, BITS, SIGMOIDS),
        (lambda y, x: losses.binary_focal_crossentropy(y, x, from_logits=True), BITS, LOGITS),
        (lambda y, x: losses.categorical_focal_crossentropy(y, x, from_logits=True), ONE_HOT, LOGITS),
        (losses.categorical_generalized_cross_entropy, CLASS_NUMBERS, PROBABILITIES),
        (losses.dice, BITS, SIGMOIDS),
        (lambda y, x: losses.tversky(y, x, 0.3, 0.6, -1), BITS, SIGMOIDS),
    ],
)
def test_gradients(loss: Any, y_true: Any, y_pred: Any) -> None:
    check_grads(lambda x: loss(y_true, x), [wide(y_pred)], np.random.default_rng(3), order=2)


def test_softmax_crossentropy_derivatives() -> None:
    y = wide(RNG.dirichlet(np.ones(N), B))
    check_grads(lambda x: softmax_crossentropy(x, y), [wide(LOGITS)], np.random.default_rng(5), order=2)
    check_grads(lambda t: softmax_crossentropy(wide(LOGITS), t), [y], np.random.default_rng(5))


def test_extreme_logits_are_finite_and_their_slopes_right() -> None:
    x = ops.convert_to_tensor(np.array([[0.0, 200.0, -200.0]], np.float32))
    y = np.array([[1.0, 0.0, 1.0]], np.float32)
    with GradientTape() as tape:
        tape.watch(x)
        value = losses.binary_crossentropy(y, x, from_logits=True)
    np.testing.assert_allclose(value, [(np.log(2) + 200 + 200) / 3], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(value, x), [[-0.5 / 3, 1 / 3, -1 / 3]], rtol=1e-6)


# masks


def masked(array: Any, mask: Any) -> Any:
    value = ops.convert_to_tensor(array)
    value.mask = ops.convert_to_tensor(mask)
    return value


def test_masked_steps_leave_sum_and_divisor() -> None:
    y_true, mask = np.array([[[0.0], [5.0], [1.0]]], np.float32), np.array([[True, False, True]])
    y_pred = masked(np.array([[[2.0], [0.0], [1.0]]], np.float32), mask)
    assert losses.get("mae")(y_true, y_pred).item() == 1.0
    both = masked(np.concatenate([y_pred, np.zeros_like(y_pred)]), np.concatenate([mask, ~(mask | True)]))
    with GradientTape() as tape:
        tape.watch(both)
        value = losses.get("mae")(np.concatenate([y_true, y_true]), both)
    assert value.item() == 1.0
    np.testing.assert_array_equal(tape.gradient(value, both)[1], np.zeros((3, 1)))


def test_masks_with_weights_and_every_reduction() -> None:
    y_true = RNG.normal(size=(B, T, N)).astype(np.float32)
    y_pred = RNG.normal(size=(B, T, N)).astype(np.float32)
    mask = RNG.random((B, T)) < 0.6
    each = ((wide(y_true) - wide(y_pred)) ** 2).mean(-1) * mask
    weighted = each * WEIGHTS[:, None]
    wanted = {
        "sum": weighted.sum(),
        "mean": weighted.sum() / mask.sum(),
        "mean_with_sample_weight": weighted.sum() / (WEIGHTS[:, None] * mask).sum(),
        None: weighted,
    }
    for reduction, want in wanted.items():
        got = losses.MeanSquaredError(reduction)(y_true, masked(y_pred, mask), WEIGHTS)
        np.testing.assert_allclose(got, want, rtol=2e-5)


def test_a_fully_masked_batch_gives_zero() -> None:
    y_pred = masked(np.full((B, T, N), np.nan, np.float32), np.zeros((B, T), bool))
    assert losses.MeanSquaredError()(np.zeros((B, T, N), np.float32), y_pred).item() == 0.0


def test_masked_column_keeps_its_steps() -> None:
    y_true = RNG.normal(size=(B, T)).astype(np.float32)
    y_pred = RNG.normal(size=(B, T, 1)).astype(np.float32)
    mask = RNG.random((B, T)) < 0.6
    want = (np.abs(y_true - y_pred[..., 0]) * mask).sum() / mask.sum()
    np.testing.assert_allclose(losses.get("mae")(y_true, masked(y_pred, mask)), want, rtol=2e-6)


def test_a_mask_that_the_loss_cannot_apply_is_refused() -> None:
    y_pred = masked(np.zeros((B, T), np.float32), np.ones((B, T), bool))
    with pytest.raises(ShapeError, match=r"the mask has shape \(5, 7\).*\(5,\)"):
        losses.MeanSquaredError()(np.zeros((B, T), np.float32), y_pred)


# labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 5], r"label 5 at row 1 is outside the valid range \[0, 3\)"),
        ([-1, 2], r"label -1 at row 0 is outside the valid range \[0, 3\)"),
        ([0.0, 1.5], r"label 1.5 at row 1"),
        ([0.0, float("nan")], r"label nan at row 1"),
    ],
)
def test_labels_outside_the_range(labels: list[Any], message: str) -> None:
    with pytest.raises(RangeError, match=message) as caught:
        losses.SparseCategoricalCrossentropy()(labels, PROBABILITIES[:2])
    assert isinstance(caught.value, ValueError)


def test_ignored_labels_leave_the_mean() -> None:
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    np.testing.assert_allclose(loss([-1, 2], LOGITS[:2]), -log_softmax(LOGITS)[1, 2], rtol=2e-6)
    x = ops.convert_to_tensor(LOGITS[:2])
    with GradientTape() as tape:
        tape.watch(x)
        value = loss([-1, -1], x)
    assert value.item() == 0.0
    np.testing.assert_array_equal(tape.gradient(value, x), np.zeros((2, N)))
    with pytest.raises(RangeError, match="label -2 at row 1"):
        loss([-1, -2], LOGITS[:2])


def test_whole_floats_and_columns_are_labels() -> None:
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    want = loss(CLASS_NUMBERS, LOGITS).numpy()
    for labels in (CLASS_NUMBERS.astype(np.float64), CLASS_NUMBERS[:, None], CLASS_NUMBERS.astype(np.int64)):
        np.testing.assert_array_equal(loss(labels, LOGITS), want)


def test_impossible_classes_do_not_spoil_the_others() -> None:
    logits = np.array([[0.0, -np.inf, 1.0]], np.float32)
    got = losses.SparseCategoricalCrossentropy(from_logits=True)([2], logits)
    np.testing.assert_allclose(got, np.log1p(np.exp(-1.0)), rtol=1e-6)


# refusals


@pytest.mark.parametrize("name", ["mse", "mae", "binary_crossentropy", "categorical_crossentropy"])
@pytest.mark.parametrize(("true", "pred"), [((5, 3), (3,)), ((5, 1), (5, 3)), ((5, 3), (5, 1)), ((7, 3), (5, 3))])
def test_shapes_that_would_broadcast_are_refused(name: str, true: Any, pred: Any) -> None:
    with pytest.raises(ShapeError) as caught:
        losses.get(name)(np.zeros(true, np.float32), np.zeros(pred, np.float32))
    for shape in (true, pred):
        assert str(shape) in str(caught.value)


def test_free_sizes_never_meet_one() -> None:
    steps = Dimension.named("steps")
    with pytest.raises(ShapeError):
        trace.run(losses.mean_squared_error, [Spec((B, 1), np.dtype("f4")), Spec((B, steps), np.dtype("f4"))])


def test_last_axis_of_one_is_matched() -> None:
    y_true, y_pred = REALS[:, 0], LOGITS[:, :1]
    want = ((wide(y_true) - wide(y_pred[:, 0])) ** 2).mean()
    for true, pred in ((y_true, y_pred), (y_true[:, None], y_pred[:, 0])):
        np.testing.assert_allclose(losses.get("mse")(true, pred), want, rtol=2e-6)
        np.testing.assert_allclose(losses.get(lambda a, b: (a - b) ** 2)(true, pred), want, rtol=2e-6)


def test_weights_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"sample_weight has shape \(3,\).*\(5,\)"):
        losses.get("mse")(REALS, LOGITS, WEIGHTS[:3])


def test_get() -> None:
    for name in ("mse", "MeanSquaredError", "mean_squared_error", losses.MeanSquaredError):
        assert isinstance(losses.get(name), losses.MeanSquaredError)
    assert losses.get(None) is None
    with pytest.raises(ArgumentError, match="'binary_crossentropy'"):
        losses.get("binary_crossentropi")
    with pytest.raises(ArgumentError, match="sum_over_batch_size"):
        losses.MeanSquaredError(reduction="average")
    assert issubclass(ArgumentError, GraphkitError)


def test_double_targets_and_weights_keep_the_loss_single() -> None:
    value = losses.get(lambda a, b: ops.mean((a - b) ** 2, -1))(wide(REALS), LOGITS, wide(WEIGHTS))
    assert value.dtype == np.float32
