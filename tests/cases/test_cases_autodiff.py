"""Cases 40 to 50 of people who ask for gradients: kinks, shared values, zeros, broadcasting, what is not connected."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import GradientTape, Input, Model, Sequential, errors, layers, losses, ops, optimizers, testing
from graphkit.autodiff import check_grads
from tests.export.test_export import exported

STEP = 1e-6


def tensor(value: Any) -> Any:
    return ops.convert_to_tensor(np.asarray(value, np.float64))


def slopes(function: Callable[..., Any], *values: Any) -> list[np.ndarray]:
    """The gradients of the sum of a function of arrays, in float64."""
    tensors = [tensor(v) for v in values]
    with GradientTape() as tape:
        tape.watch(tensors)
        result = function(*tensors)
    return [np.asarray(g) for g in tape.gradient(result, tensors)]


def differences(function: Callable[[], Any], variable: Any) -> np.ndarray:
    """Central differences of a number with respect to each element of a variable."""
    start, found = variable.numpy(), np.zeros(variable.numpy().shape)
    for place in np.ndindex(*start.shape):
        sides = []
        for step in (STEP, -STEP):
            moved = start.copy()
            moved[place] += step
            variable.assign(moved)
            sides.append(float(function()))
        found[place] = (sides[0] - sides[1]) / (2 * STEP)
    variable.assign(start)
    return found


# 40: at the kink
KINKS: tuple[tuple[str, Callable[..., Any], float, float], ...] = (
    ("relu", ops.relu, 0.0, 0.0),
    ("absolute", ops.absolute, 0.0, 0.0),
    ("clip at its lower bound", lambda x: ops.clip(x, 0.0, 1.0), 0.0, 1.0),
    ("clip at its upper bound", lambda x: ops.clip(x, 0.0, 1.0), 1.0, 1.0),
    ("clip between -2 and 5", lambda x: ops.clip(x, -2.0, 5.0), 5.0, 1.0),
    ("maximum with 0", lambda x: ops.maximum(x, 0.0), 0.0, 1.0),
    ("minimum with 3", lambda x: ops.minimum(x, 3.0), 3.0, 1.0),
    ("leaky_relu", lambda x: ops.leaky_relu(x, 0.3), 0.0, 0.3),
    ("leaky_relu of 0.01", lambda x: ops.leaky_relu(x, 0.01), 0.0, 0.01),
)  # fmt: skip


@pytest.mark.parametrize(("name", "function", "at", "want"), KINKS, ids=[k[0] for k in KINKS])
def test_case_040_the_slope_at_a_kink_is_one_between_the_sides(
    name: str, function: Callable[..., Any], at: float, want: float
) -> None:
    """Documented: relu and abs 0, clip 1 at its bounds; and one-sided differences bracket it."""
    (got,) = slopes(function, at)
    assert got == want
    here, before, behind = (float(function(tensor(at + step))) for step in (0.0, -1e-3, 1e-3))
    sides = sorted(((here - before) / 1e-3, (behind - here) / 1e-3))
    assert sides[0] - 1e-9 <= got <= sides[1] + 1e-9


@pytest.mark.parametrize("at", [1.0, 2.0, -7.0])
@pytest.mark.parametrize("function", [ops.maximum, ops.minimum], ids=["maximum", "minimum"])
def test_case_040_equals_share_one_cotangent(function: Callable[..., Any], at: float) -> None:
    """(1, 0), documented in the op: the first takes it all, and the sum is 1."""
    assert [g.item() for g in slopes(function, at, at)] == [1.0, 0.0]
    assert "x where they are equal" in (ops.maximum.__doc__ or "") + (ops.minimum.__doc__ or "")


# 41: several paths to one value
@pytest.mark.parametrize("at", [3.0, -5.0])
def test_case_041_gradients_of_several_paths_add_up(at: float) -> None:
    assert slopes(lambda x: ops.max(ops.stack([x, x])), at) == [1.0]
    assert slopes(lambda x: ops.maximum(x, x), at) == [1.0]
    assert slopes(lambda x: x * x + x, at) == [2 * at + 1]


@pytest.mark.parametrize("weights", [[1.0, 2.0, 3.0, 4.0], [5.0, -2.0, 0.5, 11.0]])
def test_case_041_both_halves_of_a_concatenation_count(weights: list[float]) -> None:
    (got,) = slopes(lambda x: ops.sum(ops.concatenate([x, x]) * np.array(weights)), [1.0, 1.0])
    assert got.tolist() == [weights[0] + weights[2], weights[1] + weights[3]]


@pytest.mark.parametrize("times", [2, 3])
def test_case_041_a_shared_layer_in_a_chain_equals_the_differences(times: int) -> None:
    with testing.float64():
        dense = layers.Dense(3, activation="tanh")
        x = np.random.default_rng(41).normal(size=(2, 3))

        def loss() -> Any:
            y = tensor(x)
            for _ in range(times):
                y = dense(y)
            return ops.sum(y * y)

        loss()
        with GradientTape() as tape:
            value = loss()
        for got, variable in zip(tape.gradient(value, dense.trainable_weights), dense.trainable_weights, strict=True):
            np.testing.assert_allclose(np.asarray(got), differences(loss, variable), atol=1e-7)


# 43: norms and roots at zero
@pytest.mark.parametrize("size", [2, 3, 7])
def test_case_043_norms_at_zero_have_the_gradient_zero(size: int) -> None:
    nothing = np.zeros(size)
    assert slopes(ops.norm, nothing)[0].tolist() == [0.0] * size
    assert slopes(lambda x: ops.norm(x) ** 2, nothing)[0].tolist() == [0.0] * size
    here = np.arange(1.0, size + 1)
    assert [g.tolist() for g in slopes(lambda x, y: ops.norm(x - y), here, here)] == [[0.0] * size] * 2


@pytest.mark.parametrize("shape", [(2, 3), (5, 2)])
def test_case_043_normalizing_nothing_gives_nothing(shape: tuple[int, int]) -> None:
    assert not ops.normalize(np.zeros(shape)).numpy().any()
    unit = layers.UnitNormalization()
    for function in (ops.normalize, unit):
        assert np.isfinite(slopes(function, np.zeros(shape))[0]).all()
    similarity = losses.cosine_similarity
    assert np.isfinite(np.asarray(similarity(tensor(np.zeros(shape)), tensor(np.ones(shape))))).all()
    for g in slopes(similarity, np.zeros(shape), np.ones(shape)):
        assert np.isfinite(g).all()


@pytest.mark.parametrize("value", [0.0, 2.0, -3.5])
def test_case_043_equal_values_deviate_by_zero(value: float) -> None:
    x = np.full(4, value)
    for function in (ops.std, ops.var):
        assert float(function(x)) == 0.0
        assert np.isfinite(slopes(function, x)[0]).all()


@pytest.mark.parametrize("others", [[4.0], [1.0, 9.0]])
def test_case_043_a_root_of_zero_is_silent_where_nothing_is_asked(others: list[float]) -> None:
    """Alone it is infinite, as the op says; with 0 from above it is 0."""
    values = [0.0, *others]
    scale = np.array([0.0, *[1.0] * len(others)])
    assert slopes(lambda x: ops.sqrt(x) * scale, values)[0].tolist() == [0.0, *(0.5 / v**0.5 for v in others)]
    assert slopes(ops.sqrt, 0.0)[0] == np.inf


# 44: powers at zero and below
@pytest.mark.parametrize(
    ("exponent", "at", "want"),
    [
        (3, -2.0, 12.0),
        (3, 0.0, 0.0),
        (0, 0.0, 0.0),
        (1, 0.0, 1.0),
        (0.5, 0.0, np.inf),
        (5, -1.0, 5.0),
        (2, -7.0, -14.0),
    ],
)
def test_case_044_powers_of_constants(exponent: float, at: float, want: float) -> None:
    """x^0.5 at 0 is infinite, as its formula y x^(y-1) says."""
    assert slopes(lambda x: x**exponent, at) == [want]


@pytest.mark.parametrize(("at", "want"), [(0.0, 0.0), (-2.0, -4.0), (3.0, 6.0)])
def test_case_044_a_trainable_exponent_leaves_the_base_alone(at: float, want: float) -> None:
    gx, gy = slopes(ops.power, at, 2.0)
    assert gx == want
    assert gy == (at**2 * np.log(at) if at > 0 else 0.0)
    with GradientTape() as tape:
        exponent = ops.Variable(np.asarray(2.0))
        x = ops.Variable(np.asarray(at))
        y = x**exponent
    assert float(tape.gradient(y, x)) == want


@pytest.mark.parametrize("power", [2.0, 3.0])
def test_case_044_the_exponent_of_zero_has_the_slope_zero(power: float) -> None:
    assert slopes(lambda p: ops.power(tensor(0.0), p), power) == [0.0]


@pytest.mark.parametrize(("base", "want"), [(-2.0, -8.0), (-3.0, -27.0)])
def test_case_044_powers_of_negative_numbers_are_written(base: float, want: float, tmp_path: Path) -> None:
    x = Input((1,), name="x")
    model = Model(x, {"y": x**3})
    _, session = exported(model, tmp_path)
    rows = np.array([[base]], np.float32)
    assert session.run(["y"], {"x": rows})[0] == want
    assert model.predict(rows, verbose=0)["y"] == want


# 46: gradients have the shapes of what they are for
SHAPES: tuple[tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...]], ...] = (
    ("a number", ops.multiply, ((), (5, 4))),
    ("one number", ops.multiply, ((1,), (5, 4))),
    ("column and row", ops.multiply, ((4, 1), (1, 4))),
    ("bias", ops.add, ((3,), (2, 5, 3))),
    ("row and column", ops.add, ((1, 3), (2, 1))),
    ("broadcast_to", lambda x: ops.broadcast_to(x, (4, 3)), ((3,),)),
    ("a number in logaddexp", ops.logaddexp, ((), (5, 4))),
    ("arctan2", ops.arctan2, ((4, 1), (3,))),
    ("mod", lambda x, y: ops.mod(x, 3.0 + y * y), ((2, 1), (3,))),
)  # fmt: skip


@pytest.mark.parametrize(("name", "function", "shapes"), SHAPES, ids=[s[0] for s in SHAPES])
@pytest.mark.parametrize("seed", [46, 47])
def test_case_046_gradients_are_summed_to_the_shape_of_each_operand(
    name: str, function: Callable[..., Any], shapes: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=s) for s in shapes]
    assert [g.shape for g in slopes(function, *values)] == list(shapes)
    check_grads(function, values, rng)


@pytest.mark.parametrize(("lead", "each"), [((2, 5), 10.0), ((3, 7), 21.0)])
def test_case_046_a_bias_gets_one_for_each_row(lead: tuple[int, int], each: float) -> None:
    bias, x = slopes(ops.add, np.zeros(3), np.zeros((*lead, 3)))
    assert bias.tolist() == [each] * 3
    assert x.tolist() == np.ones((*lead, 3)).tolist()
    a, b = np.arange(4.0)[:, None], np.arange(4.0, 8.0)[None]
    ga, gb = slopes(ops.multiply, a, b)
    np.testing.assert_array_equal(ga, np.full((4, 1), b.sum()))
    np.testing.assert_array_equal(gb, np.full((1, 4), a.sum()))


# 47: large numbers, nothing at all, rows that are masked
@pytest.mark.parametrize(
    ("values", "want", "slope"),
    [([1000.0, 1000.0], 1000 + np.log(2), [0.5, 0.5]), ([-1000.0, -1000.0], np.log(2) - 1000, [0.5, 0.5]),
     ([1000.0, -1000.0], 1000.0, [1.0, 0.0]), ([-np.inf, 3.0], 3.0, [0.0, 1.0]),
     ([-np.inf, -np.inf], -np.inf, [0.0, 0.0])],
)  # fmt: skip
def test_case_047_logsumexp_is_shifted(values: list[float], want: float, slope: list[float]) -> None:
    assert float(ops.logsumexp(tensor(values))) == pytest.approx(want, abs=1e-12)
    assert slopes(ops.logsumexp, values)[0].tolist() == slope


@pytest.mark.parametrize("values", [[0.0, -np.inf], [-1000.0, -np.inf]])
def test_case_047_softmax_of_minus_infinity_is_zero(values: list[float]) -> None:
    assert ops.softmax(tensor(values)).numpy().tolist() == [1.0, 0.0]
    assert np.isfinite(slopes(lambda x: ops.softmax(x) * np.array([2.0, 3.0]), values)[0]).all()
    assert slopes(lambda x: ops.log_softmax(x)[0], values)[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "make",
    [lambda: layers.MultiHeadAttention(2, 3, name="attend"), lambda: layers.MultiHeadAttention(1, 5, name="attend")],
    ids=["two", "one"],
)
def test_case_047_a_row_without_a_key_poisons_nothing(make: Callable[[], Any], tmp_path: Path) -> None:
    """It attends evenly; the weights' gradients are finite and those of the other row alone; exported the same."""
    layer = make()
    x = np.random.default_rng(47).normal(size=(2, 5, 4)).astype(np.float32)
    keys = np.array([[True, True, False, True, False], [False] * 5])

    def weight_gradients(rows: int) -> list[np.ndarray]:
        with GradientTape() as tape:
            y = layer(ops.convert_to_tensor(x[:rows]), ops.convert_to_tensor(x[:rows]),
                      key_mask=ops.convert_to_tensor(keys[:rows]))  # fmt: skip
            loss = ops.sum(ops.square(y[:1]))
        return [np.asarray(g) for g in tape.gradient(loss, layer.trainable_weights)]

    weight_gradients(2)
    for both, alone in zip(weight_gradients(2), weight_gradients(1), strict=True):
        assert np.isfinite(both).all()
        np.testing.assert_allclose(both, alone, atol=1e-5)
    query, mask = Input((5, 4), name="query"), Input((5,), dtype="bool", name="keys")
    model = Model([query, mask], {"y": layer(query, query, key_mask=mask)})
    wanted = model.predict({"query": x, "keys": keys}, verbose=0)["y"]
    _, session = exported(model, tmp_path)
    (got,) = session.run(["y"], {"query": x, "keys": keys})
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_allclose(np.ptp(wanted[1], axis=0), 0.0, atol=1e-6)


# 49: what is not connected
def two_heads() -> Model:
    x = Input((3,), name="x")
    body = layers.Dense(2, name="body")(x)
    return Model(x, {"a": layers.Dense(1, name="head_a")(body), "b": layers.Dense(1, name="head_b")(body)})


@pytest.mark.parametrize("rows", [2, 5])
def test_case_049_a_loss_through_numpy_is_none_and_told_at_the_update(rows: int) -> None:
    model, optimizer = two_heads(), optimizers.SGD(0.1)
    with GradientTape() as tape:
        loss = ops.sum(ops.convert_to_tensor(np.asarray(model(np.ones((rows, 3), np.float32))["a"])))
    found = tape.gradient(loss, model.trainable_weights)
    assert found == [None] * 6
    with pytest.raises(errors.ArgumentError, match="no gradient for body/kernel, body/bias, head_a/kernel"):
        optimizer.apply_gradients(zip(found, model.trainable_weights, strict=True))


@pytest.mark.parametrize("at", [1.0, -3.0])
def test_case_049_an_input_that_is_not_watched_is_none(at: float) -> None:
    x, y = tensor(at), tensor(2.0)
    with GradientTape() as tape:
        tape.watch(y)
        z = x * x * y
    assert [g if g is None else float(g) for g in tape.gradient(z, [x, y])] == [None, at * at]


@pytest.mark.parametrize("used", ["a", "b"])
def test_case_049_an_unused_head_is_named_and_the_rest_updated(used: str) -> None:
    model, optimizer = two_heads(), optimizers.SGD(0.1)
    before = {w.path: w.numpy() for w in model.trainable_weights}
    with GradientTape() as tape:
        loss = ops.sum(model(np.ones((2, 3), np.float32))[used])
    pairs = list(zip(tape.gradient(loss, model.trainable_weights), model.trainable_weights, strict=True))
    other = {"a": "b", "b": "a"}[used]
    with pytest.warns(UserWarning, match=f"no gradient for head_{other}/kernel, head_{other}/bias"):
        optimizer.apply_gradients(pairs)
    for weight in model.trainable_weights:
        still = np.array_equal(weight.numpy(), before[weight.path])
        assert still == weight.path.startswith(f"head_{other}"), weight.path
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.apply_gradients(pairs)


@pytest.mark.parametrize("at", [2.0, [1.0, 5.0]])
def test_case_049_a_tape_is_asked_once_unless_it_is_kept(at: Any) -> None:
    x = tensor(at)
    with GradientTape() as tape:
        tape.watch(x)
        y = ops.sum(x * x)
    tape.gradient(y, x)
    with pytest.raises(errors.GradientError, match="persistent"):
        tape.gradient(y, x)


@pytest.mark.parametrize("target", [lambda x: ops.cast(x, "int32"), lambda x: ops.argmax(x)], ids=["cast", "argmax"])
def test_case_049_an_integer_target_is_refused(target: Callable[[Any], Any]) -> None:
    x = tensor([1.0, 2.0])
    with GradientTape() as tape:
        tape.watch(x)
        y = target(x)
    with pytest.raises(errors.DtypeError, match="int"):
        tape.gradient(y, x)


# 50: gradients of gradients
@pytest.mark.parametrize("at", [2.0, -5.0])
def test_case_050_the_second_derivative_of_a_cube(at: float) -> None:
    x = tensor(at)
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            y = x**3
        first = inner.gradient(y, x)
    assert float(first) == 3 * at * at
    assert float(outer.gradient(first, x)) == 6 * at


@pytest.mark.parametrize(("x", "w"), [(1.0, 2.0), (3.0, -0.5)])
def test_case_050_the_penalty_of_a_slope(x: float, w: float) -> None:
    """P = (|2 w x| - 1)^2, dP/dw = 2 (|2 w x| - 1) sign(2 w x) 2 x: 9 and 12 at x = 1, w = 2."""
    point, weight = tensor(x), ops.Variable(np.asarray(w))
    with GradientTape() as outer:
        with GradientTape() as inner:
            inner.watch(point)
            y = weight * point**2
        penalty = (ops.absolute(inner.gradient(y, point)) - 1.0) ** 2
    slope = 2 * w * x
    assert float(penalty) == (abs(slope) - 1) ** 2
    assert float(outer.gradient(penalty, weight)) == 2 * (abs(slope) - 1) * np.sign(slope) * 2 * x


@pytest.mark.parametrize("rows", [2, 5])
def test_case_050_the_gradient_penalty_of_a_critic(rows: int) -> None:
    with testing.float64():
        critic = Sequential([Input((3,)), layers.Dense(4, activation="tanh"), layers.Dense(1)])
        x = tensor(np.random.default_rng(50).normal(size=(rows, 3)))

        def penalty() -> Any:
            with GradientTape() as inner:
                inner.watch(x)
                y = critic(x)
            size = ops.norm(inner.gradient(y, x), axis=1)
            return ops.mean(ops.square(size - 1.0))

        with GradientTape() as outer:
            value = penalty()
        kernels = [w for w in critic.trainable_weights if "kernel" in w.path]
        for got, weight in zip(outer.gradient(value, kernels), kernels, strict=True):
            np.testing.assert_allclose(np.asarray(got), differences(penalty, weight), atol=1e-7)
