"""What fit and predict take: arrays, lists, dicts, dtypes, row counts; each refusal names what was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, errors, layers

ROWS = 7
RNG = np.random.default_rng(2)
IDS, REALS = RNG.integers(0, 5, (ROWS, 3)), RNG.normal(size=(ROWS, 2)).astype(np.float32)
Y = RNG.normal(size=(ROWS, 1)).astype(np.float32)


def model() -> Model:
    ids, reals = Input((None,), name="ids"), Input((2,), name="reals")
    pooled = layers.LSTM(2)(layers.Embedding(5, 3, name="look")(ids))
    made = Model([ids, reals], layers.Dense(1, name="out")(layers.Concatenate()([pooled, reals])))
    made.compile("sgd", "mse")
    return made


def test_each_form_gives_the_same_numbers() -> None:
    m = model()
    want = m.evaluate([IDS, REALS], Y)
    for x in ((IDS, REALS), {"reals": REALS, "ids": IDS}, [IDS.tolist(), REALS.tolist()]):
        for y in (Y, {"out": Y}, [Y], Y.tolist(), Y[:, 0]):
            assert m.evaluate(x, y) == want
    np.testing.assert_array_equal(m.predict([IDS, REALS]), m.predict({"reals": REALS, "ids": IDS}))


@pytest.mark.parametrize("ids", ["int64", "int32", "uint8", "float64", "float32"])
def test_casts_that_are_always_made(ids: str) -> None:
    m = model()
    want = m.predict([IDS, REALS])
    for reals in ("float64", "float32"):
        found = m.predict([IDS.astype(ids), REALS.astype(reals)])
        np.testing.assert_array_equal(found, want)
        assert found.dtype == np.float32
    whole = np.arange(2 * ROWS).reshape(ROWS, 2) % 2
    np.testing.assert_array_equal(m.predict([IDS, whole]), m.predict([IDS, whole.astype(bool)]))


def test_what_was_given_stays_as_it_was_and_what_is_given_back_is_the_callers() -> None:
    m = model()
    ids, reals, y = IDS.copy(), REALS.astype(np.float64), Y.astype(np.float64)
    for array in (ids, reals, y):
        array.flags.writeable = False
    m.fit([ids, reals], y, verbose=0, batch_size=3)
    first = m.predict([ids, reals])
    kept = first.copy()
    first[...] = np.nan
    np.testing.assert_array_equal(m.predict([ids, reals]), kept)
    m.predict([ids[:, :2], reals])
    np.testing.assert_array_equal(m.predict([ids, reals]), kept)


REFUSED: list[tuple[Any, Any, type[Exception], str]] = [
    ([IDS], Y, errors.ArgumentError, "1 given, 2 expected, in this order: 'ids', 'reals'"),
    (IDS, Y, errors.ArgumentError, "one array given, 2 expected: 'ids', 'reals'"),
    ({"ids": IDS, "real": REALS}, Y, errors.ArgumentError, "unknown: 'real'; missing: 'reals'"),
    ([IDS, REALS[:, :1]], Y, errors.ShapeError, r"'reals' has shape \(7, 1\), expected \(None, 2\)"),
    ([IDS[:, 0], REALS], Y, errors.ShapeError, r"'ids' has shape \(7,\), expected \(None, None\)"),
    ([IDS, REALS[:5]], Y, errors.ShapeError, "'ids' has 7, 'reals' has 5"),
    ([IDS, REALS], Y[:5], errors.ShapeError, "'reals' has 7, 'target of out' has 5"),
    ([IDS + 0.5, REALS], Y, errors.DtypeError, "'ids' takes whole numbers"),
    ([IDS, REALS.astype(str)], Y, errors.DtypeError, "'reals' has dtype <U"),
    ([[[1], [1, 2]], REALS], Y, errors.ShapeError, "'ids': rows of different lengths"),
    ([IDS + 5, REALS], Y, errors.RangeError, r"look: .*outside the valid range \[0, 5\)"),
    ([IDS - 1, REALS], Y, errors.RangeError, r"look: index -1 .*\[0, 5\)"),
    ([IDS, REALS], np.ones((ROWS, 2)), errors.ShapeError, r"y_true \(None, 2\) and y_pred \(None, 1\)"),
    ([IDS, REALS], {"oud": Y}, errors.ArgumentError, "name 'oud', but the outputs are 'out'"),
]


@pytest.mark.parametrize(("x", "y", "kind", "message"), REFUSED, ids=[row[3][:30] for row in REFUSED])
def test_refusals_name_what_was_given_and_change_nothing(x: Any, y: Any, kind: type[Exception], message: str) -> None:
    m = model()
    before = m.get_weights()
    for call in (m.fit, m.train_on_batch, m.evaluate):
        with pytest.raises(kind, match=message):
            call(x, y)
    for got, want in zip(m.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)


def test_validation_data_are_checked_before_training() -> None:
    m = model()
    before = m.get_weights()
    with pytest.raises(errors.ShapeError, match="'reals' has 7, 'target of out' has 5"):
        m.fit([IDS, REALS], Y, verbose=0, validation_data=([IDS, REALS], Y[:5]))
    with pytest.raises(errors.ArgumentError, match=r"validation_data must be \(x, y\)"):
        m.fit([IDS, REALS], Y, verbose=0, validation_data=Y)
    with pytest.raises(errors.ArgumentError, match="batch_size must be a positive whole number, got 0"):
        m.fit([IDS, REALS], Y, verbose=0, batch_size=0)
    np.testing.assert_array_equal(m.get_weights()[0], before[0])


def test_several_targets_by_name_by_position_and_as_plain_lists() -> None:
    x = Input((2,), name="x")
    m = Model(x, [layers.Dense(1, name="a")(x), layers.Dense(3, name="b")(x)])
    m.compile("sgd", "mse")
    a, b = Y, np.ones((ROWS, 3), np.float32)
    want = m.evaluate(REALS, [a, b])
    for y in ({"b": b, "a": a}, (a, b), [a.tolist(), b.tolist()]):
        assert m.evaluate(REALS, y) == want
    with pytest.raises(errors.ArgumentError, match="no target for 'b'"):
        m.evaluate(REALS, {"a": a})
    with pytest.raises(errors.ArgumentError, match="1 targets given for 2 outputs: 'a', 'b'"):
        m.evaluate(REALS, [a])
