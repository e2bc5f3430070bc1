"""class_weight: a weight for each class, as a factor of each row's loss; the divisor stays the number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import Dataset, Input, Model, errors, layers, losses, optimizers

LABELS = np.array([0, 2, 1, 2, 2, 0, 1])
WEIGHTS = {0: 2.0, 1: 0.5, 2: 11.0}
EACH = np.array([WEIGHTS[c] for c in LABELS])
X = np.ones((7, 2), np.float32)


def one(loss: Any = None, units: int = 3) -> Model:
    """Logits that are all 0, so that each row's loss is ln(units)."""
    x = Input((2,), name="x")
    model = Model(x, {"kind": layers.Dense(units, kernel_initializer="zeros", name="kind")(x)})
    model.compile(optimizers.SGD(0.0), loss or losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def two() -> Model:
    x = Input((2,), name="x")
    heads = {n: layers.Dense(u, kernel_initializer="zeros", name=n)(x) for n, u in (("kind", 3), ("other", 5))}
    model = Model(x, heads)
    model.compile(optimizers.SGD(0.0), losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


WANT = np.log(3) * EACH.mean()


def first(history: Any, name: str = "loss") -> float:
    return float(history.history[name][0])


@pytest.mark.parametrize("y", [LABELS, LABELS[:, None], LABELS.astype(np.float32), {"kind": LABELS}, LABELS.tolist()])
def test_class_numbers_in_each_form(y: Any) -> None:
    np.testing.assert_allclose(first(one().fit(X, y, class_weight=WEIGHTS, verbose=0)), WANT, rtol=1e-6)
    named = one().fit(X, y, class_weight={"kind": WEIGHTS}, verbose=0) if isinstance(y, dict) else None
    if named is not None:
        np.testing.assert_allclose(first(named), WANT, rtol=1e-6)
    np.testing.assert_allclose(one().train_on_batch(X, y, class_weight=WEIGHTS), WANT, rtol=1e-6)


def test_one_hot_rows_have_the_class_of_their_one() -> None:
    model = one(losses.CategoricalCrossentropy(from_logits=True))
    found = model.fit(X, np.eye(3)[LABELS], class_weight=WEIGHTS, batch_size=3, verbose=0)
    np.testing.assert_allclose(first(found), WANT, rtol=1e-6)


def test_two_classes_of_one_number() -> None:
    model = one(losses.BinaryCrossentropy(from_logits=True), units=1)
    y = (LABELS == 2).astype(np.float32)[:, None]
    found = model.fit(X, y, class_weight={0: 1.0, 1: 5.0}, verbose=0)
    np.testing.assert_allclose(first(found), np.log(2) * np.where(LABELS == 2, 5, 1).mean(), rtol=1e-6)


def test_a_class_that_is_not_named_weighs_one() -> None:
    want = np.log(3) * np.where(LABELS == 1, 7, 1).mean()
    np.testing.assert_allclose(first(one().fit(X, LABELS, class_weight={1: 7}, verbose=0)), want, rtol=1e-6)


def test_it_multiplies_sample_weights() -> None:
    rows = np.arange(7.0)
    want = np.log(3) * (EACH * rows).mean()
    found = one().fit(X, LABELS, class_weight=WEIGHTS, sample_weight=rows, verbose=0)
    np.testing.assert_allclose(first(found), want, rtol=1e-6)
    y = {"kind": LABELS, "other": LABELS}
    found = two().fit(X, y, class_weight={"kind": WEIGHTS}, sample_weight=rows, verbose=0)
    np.testing.assert_allclose(first(found, "kind_loss"), want, rtol=1e-6)
    np.testing.assert_allclose(first(found, "other_loss"), np.log(5) * rows.mean(), rtol=1e-6)
    found = two().fit(X, y, class_weight={"kind": WEIGHTS}, sample_weight={"other": rows}, verbose=0)
    np.testing.assert_allclose(first(found, "kind_loss"), WANT, rtol=1e-6)
    np.testing.assert_allclose(first(found, "other_loss"), np.log(5) * rows.mean(), rtol=1e-6)


def test_batches_of_a_stream_are_weighted_too() -> None:
    for source in (
        Dataset.from_arrays(X, LABELS).batch(3),
        iter([(X[:5], LABELS[:5]), [X[5:], LABELS[5:]]]),
    ):
        np.testing.assert_allclose(first(one().fit(source, class_weight=WEIGHTS, verbose=0)), WANT, rtol=1e-6)


def test_it_changes_what_is_learned() -> None:
    def kernel(**options: Any) -> Any:
        model = one()
        model.optimizer.learning_rate = 0.5
        model.fit(X, LABELS, batch_size=7, verbose=0, **options)
        return model.get_weights()[1]

    share = np.full(3, 1 / 3)
    for weights, options in ((np.ones(7), {}), (EACH, {"class_weight": WEIGHTS})):
        want = -0.5 * np.mean(weights[:, None] * (share - np.eye(3)[LABELS]), axis=0)
        np.testing.assert_allclose(kernel(**options), want, rtol=1e-5, atol=1e-7)


def test_validation_is_not_weighted() -> None:
    found = one().fit(X, LABELS, class_weight=WEIGHTS, validation_data=(X, LABELS), verbose=0)
    np.testing.assert_allclose(first(found, "val_loss"), np.log(3), rtol=1e-6)


REFUSED: list[tuple[Any, Any, str]] = [
    (WEIGHTS, {"kind": LABELS, "other": LABELS}, r"for 2 outputs must name them: \{'kind': \{0: 1.0\}\}"),
    ({"sort": WEIGHTS}, {"kind": LABELS, "other": LABELS}, "names 'sort', but the outputs are 'kind', 'other'"),
    ({"other": WEIGHTS}, {"kind": LABELS}, "names 'other', which has no target"),
    ({}, {"kind": LABELS}, "must map classes to weights"),
    ([1.0, 2.0], {"kind": LABELS}, "must map classes to weights"),
    ({"kind": WEIGHTS}, {"kind": np.zeros((7, 3, 2)), "other": LABELS}, r"'kind' has shape \(7, 3, 2\)"),
]


@pytest.mark.parametrize(("weights", "y", "message"), REFUSED, ids=[r[2][:20] for r in REFUSED])
def test_refusals_name_the_outputs(weights: Any, y: Any, message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        two().fit(X, y, class_weight=weights, verbose=0)
