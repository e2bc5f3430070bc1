"""Merges, masks and moved axes beside the table: functions, masks through them, ties, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import GradientTape, Input, layers, ops
from graphkit.core.errors import ArgumentError, ShapeError
from tests.ops.harness import close

X, Y = (np.random.default_rng(n).normal(size=(2, 3, 5)).astype(np.float32) for n in (1, 2))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate"])
def test_a_function_is_its_layer(name: str) -> None:
    found = getattr(layers, name)([X, Y])
    want = getattr(layers, name.title())()([X, Y])
    np.testing.assert_array_equal(np.asarray(found), np.asarray(want))
    np.testing.assert_array_equal(
        np.asarray(layers.dot([X, Y], axes=(2, 2), name="d")), np.asarray(layers.Dot(-1)([X, Y]))
    )


@pytest.mark.parametrize(("kind", "shares"), [(layers.Maximum, (1, 0)), (layers.Minimum, (1, 0))])
def test_ties_give_the_whole_gradient_to_the_first(kind: Any, shares: tuple[int, int]) -> None:
    """Case 40."""
    pair = [ops.convert_to_tensor(np.ones((1, 1), np.float32)) for _ in range(2)]
    with GradientTape() as tape:
        tape.watch(pair)
        y = kind()(pair)
    assert tuple(float(np.asarray(g).sum()) for g in tape.gradient(y, pair)) == shares


def test_two_masked_sequences_end_to_end() -> None:
    """Case 10: joined along time, the masked steps are skipped."""
    a, b = np.array([[3, 4, 0, 0, 0]]), np.array([[7, 8, 9, 0, 0, 0, 0, 0, 0, 0]])
    left, right = (layers.Embedding(n, 5, mask_zero=True) for n in (8, 20))
    lstm = layers.LSTM(6)
    found = lstm(layers.Concatenate(axis=1)([left(a), right(b)]))
    plain = np.concatenate([np.asarray(left(a))[:, :2], np.asarray(right(b))[:, :3]], 1)
    close(found, lstm(plain), 1e-6, "the live steps alone")


def test_masks_must_all_hold() -> None:
    a, b = np.array([[3, 4, 0, 1]]), np.array([[7, 0, 0, 2]])
    table = layers.Embedding(8, 5, mask_zero=True)
    merged = layers.add([table(a), table(b)])
    np.testing.assert_array_equal(np.asarray(merged.mask), [[True, False, False, True]])
    assert layers.Dot(-1)([table(a), table(b)]).mask is None


def test_masking_marks_padding_and_the_mask_goes_on() -> None:
    x = X.copy()
    x[0, 1:] = x[1, 0] = 0.0
    live = np.array([[True, False, False], [False, True, True]])
    found = layers.Masking()(x)
    np.testing.assert_array_equal(np.asarray(found.mask), live)
    lstm = layers.LSTM(7)
    np.testing.assert_array_equal(np.asarray(lstm(found)), np.asarray(lstm(x, mask=live)))
    symbol = layers.Masking()(Input((None, 5), name="x"))
    assert symbol.mask.shape == (None, None)


def test_a_mask_ends_where_the_time_axis_moves() -> None:
    """Case 11: kept while batch and time stay where they are."""
    masked = layers.Masking()(X)
    with pytest.warns(UserWarning, match="the mask ends here"):
        assert layers.Permute((2, 1))(masked).mask is None
    assert layers.Permute((1, 2))(masked).mask is not None
    assert layers.LayerNormalization()(masked).mask is not None
    assert layers.LayerNormalization(axis=1)(masked).mask is not None
    assert layers.BatchNormalization()(masked).mask is not None
    assert layers.GroupNormalization(-1)(masked).mask is not None
    assert layers.EinsumDense("abc,cd->abd", (None, 7))(masked).mask is not None
    assert layers.ReLU()(masked).mask is not None


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ArgumentError, match="Multiply takes a list of values, got one of shape"):
        layers.Multiply()(X)
    with pytest.raises(ArgumentError, match="Subtract takes a list of 2 values, got 3 of shapes"):
        layers.Subtract()([X, X, X])
    with pytest.raises(ArgumentError, match="axis 0 is the batch"):
        layers.Dot(0)([X, Y])
    with pytest.raises(ShapeError, match=r"'z' is both 5 and 3"):
        layers.Dot((2, 1))([X, Y])
    with pytest.raises(ArgumentError, match="dims is an order of 1 to 2, got \\(2, 2\\)"):
        layers.Permute((2, 2))
    with pytest.raises(ArgumentError, match="n must be a positive whole number, got 0"):
        layers.RepeatVector(0)
    with pytest.raises(ShapeError, match="RepeatVector takes"):
        layers.RepeatVector(2)(X)
    with pytest.raises(ShapeError, match="name the free axes in shared_axes"):
        layers.PReLU()(Input((None, 3), name="x"))
    with pytest.raises(ArgumentError, match="are not negative"):
        layers.ReLU(max_value=-1.0)


def test_an_equation_that_does_not_fit_is_named() -> None:
    with pytest.raises(ArgumentError, match="an equation reads 'abc,cd->abd'"):
        layers.EinsumDense("abc->ab", 3)(X)
    with pytest.raises(ShapeError, match="needs to know the size of 'c'"):
        layers.EinsumDense("abc,cd->abd", (None, 7))(Input((3, None), name="x"))
    with pytest.raises(ArgumentError, match="are not all in 'abd'"):
        layers.EinsumDense("abc,cd->abd", (None, 7), bias_axes="c")(X)
    with pytest.raises(ArgumentError, match="names 1 operands, got 2"):
        ops.einsum("ab", X, Y)
    with pytest.raises(ArgumentError, match="no letter stands twice"):
        ops.einsum("aab->b", X)
    with pytest.raises(ArgumentError, match="whole numbers or sizes"):
        ops.arange(0.5, X)
