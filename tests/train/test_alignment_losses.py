"""Circle and CTC against loops over every pair and every path, their gradients, refusals, and the compiled form."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, layers, utils
from graphkit.autodiff import GradientTape, check_grads
from graphkit.core.errors import ArgumentError, RangeError, ShapeError
from graphkit.ops import convert_to_tensor
from graphkit.train import losses

RNG = np.random.default_rng(23)
B, T, C, N = 5, 7, 3, 2
LABELS = np.array([[1, 2], [1, 1], [2, 0], [0, 0], [2, 1]], np.int32)
LOGITS = RNG.normal(size=(B, T, C)).astype(np.float32)
ROWS = RNG.normal(size=(7, 5)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
KINDS = np.array([0, 1, 0, 2, 1, 0, 3], np.int32)


def read(path: Any) -> list[int]:
    """The classes of a path, repeats dropped, then blanks."""
    return [c for c, _ in itertools.groupby(path) if c]


def every_path(labels: Any, logits: Any) -> float:
    logs = logits.astype(np.float64)
    logs = logs - np.log(np.exp(logs).sum(-1, keepdims=True))
    steps, classes = logs.shape
    wanted = [int(c) for c in labels if c]
    paths = itertools.product(range(classes), repeat=steps)
    total = sum(np.exp(sum(logs[t, c] for t, c in enumerate(p))) for p in paths if read(p) == wanted)
    return float(-np.log(total)) if total else float("inf")


def circles(labels: Any, rows: Any, gamma: float, margin: float, itself: bool = False) -> Any:
    rows, found = rows.astype(np.float64), []
    for i, row in enumerate(rows):
        near = apart = 0.0
        for j, other in enumerate(rows):
            far = max(1.0 - row @ other, 0.0)
            if labels[i] != labels[j]:
                apart += np.exp(gamma * max(1 + margin - far, 0.0) * (1 - margin - far))
            elif i != j or itself:
                near += np.exp(-gamma * (margin + far) * (margin - far))
        found.append(np.log1p(near * apart))
    return np.array(found)


def test_ctc_is_the_sum_over_every_path() -> None:
    want = [every_path(y, p) for y, p in zip(LABELS, LOGITS, strict=True)]
    got = np.asarray(losses.CTC(reduction="none")(LABELS, LOGITS))
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(losses.CTC()(LABELS, LOGITS), np.mean(want), rtol=2e-6)
    np.testing.assert_allclose(losses.ctc(LABELS.astype(np.float32), LOGITS), want, rtol=2e-6)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_ctc_of_few_steps(steps: int) -> None:
    want = [every_path(y, p[:steps]) for y, p in zip(LABELS, LOGITS, strict=True)]
    values = convert_to_tensor(LOGITS[:, :steps])
    with GradientTape() as tape:
        tape.watch(values)
        loss = losses.ctc(LABELS, values)
    np.testing.assert_allclose(loss, want, rtol=2e-6, atol=2e-6)
    gradient = np.asarray(tape.gradient(loss, values))
    assert np.isfinite(gradient).all()
    assert not gradient[np.isinf(want)].any()


def test_ctc_of_certain_logits() -> None:
    classes = np.array([1, 1, 0, 1, 2, 2, 0])
    logits = (200.0 * np.eye(3)[classes])[None].astype(np.float32)
    assert abs(float(losses.ctc([[1, 1, 2]], logits)[0])) < 1e-6
    assert abs(float(losses.ctc([[1, 2, 0]], logits)[0]) - 200.0 + np.log(3.0)) < 1e-3


def test_gradients() -> None:
    check_grads(lambda p: losses.ctc(LABELS, p), [LOGITS.astype(np.float64)], np.random.default_rng(3))
    check_grads(
        lambda p: losses.circle(KINDS, p, gamma=3.0, margin=0.3), [ROWS.astype(np.float64)], np.random.default_rng(3)
    )


def test_circle_is_the_sum_over_every_pair() -> None:
    for gamma, margin, itself in ((80.0, 0.4, False), (5.0, 0.2, False), (7.0, 0.3, True)):
        loss = losses.Circle(gamma, margin, remove_diagonal=not itself, reduction="none")
        want = circles(KINDS, ROWS, gamma, margin, itself)
        np.testing.assert_allclose(loss(KINDS, ROWS), want, rtol=2e-6 * gamma, atol=2e-6)
        np.testing.assert_allclose(loss(KINDS[:, None], ROWS), want, rtol=2e-6 * gamma, atol=2e-6)


def test_circle_rows_without_a_pair_leave_the_mean() -> None:
    want = circles(KINDS, ROWS, 5.0, 0.2)
    assert (want == 0).sum() == 2
    np.testing.assert_allclose(losses.Circle(5.0, 0.2)(KINDS, ROWS), want.sum() / 5, rtol=2e-5)
    values = convert_to_tensor(ROWS)
    with GradientTape() as tape:
        tape.watch(values)
        loss = losses.circle(np.zeros(7, np.int32), values)
    np.testing.assert_array_equal(loss, np.zeros(7))
    np.testing.assert_array_equal(tape.gradient(loss, values), np.zeros_like(ROWS))


def test_circle_against_other_rows() -> None:
    ones = losses.circle(KINDS, ROWS, KINDS[:3], ROWS[:3], remove_diagonal=False, gamma=5.0, margin=0.2)
    pairs = [circles(KINDS[[i, 0, 1, 2]], ROWS[[i, 0, 1, 2]], 5.0, 0.2)[0] for i in range(7)]
    np.testing.assert_allclose(ones, pairs, rtol=2e-5, atol=2e-6)


def test_refusals() -> None:
    with pytest.raises(ShapeError, match=r"y_true \(5,\)"):
        losses.ctc(LABELS[:, 0], LOGITS)
    with pytest.raises(ShapeError, match=r"y_pred \(7, 3\)"):
        losses.ctc(LABELS, LOGITS[0])
    with pytest.raises(RangeError, match="3"):
        losses.ctc(LABELS + 1, LOGITS)
    with pytest.raises(ShapeError, match="circle"):
        losses.circle(ROWS, ROWS)
    with pytest.raises(ArgumentError, match="gamma"):
        losses.Circle(gamma=0.0)


@pytest.mark.parametrize("kind", ["ctc", "circle"])
def test_compiled_and_eager_training_agree(kind: str) -> None:
    found = []
    for eagerly in (False, True):
        utils.set_random_seed(3)
        x = Input((None, 5) if kind == "ctc" else (5,), name="x")
        model = Model(x, layers.Dense(3)(x))
        model.compile("sgd", kind, run_eagerly=eagerly)
        data = RNG.spawn(1)[0].normal(size=(5, 7, 5)) if kind == "ctc" else ROWS
        data = np.linspace(-1.0, 1.0, data.size).reshape(data.shape).astype(np.float32)
        model.fit(data, LABELS if kind == "ctc" else KINDS, batch_size=5, epochs=2, verbose=0, shuffle=False)
        found.append(model.get_weights())
    for got, want in zip(*found, strict=True):
        assert np.isfinite(want).all()
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * max(1.0, abs(want).max()))
