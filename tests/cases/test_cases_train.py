"""Cases 16 to 25 of people who train models: names of outputs, weights of samples and classes, divisors, penalties."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from graphkit import Input, Layer, Model, errors, initializers, layers, losses, optimizers, regularizers
from tests.cases.serving import asked, served
from tests.export.test_export import exported

RNG = np.random.default_rng(16)


def ones(units: int = 1, **kwargs: Any) -> layers.Dense:
    return layers.Dense(units, use_bias=False, kernel_initializer="ones", **kwargs)


# 16: the keys of the outputs are the public names


def once_twice() -> Model:
    x = Input((1,), name="x")
    y = ones()(x)
    model = Model(x, {"once": y, "twice": 2 * y})
    model.compile("sgd", {"once": "mse", "twice": "mse"}, metrics={"once": ["mae"], "twice": "mae"})
    return model


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    with served({"pair": once_twice()}, tmp_path_factory.mktemp("repository")) as found:
        yield found


SCALES = [(4, 1.0), (3, 5.0), (7, -2.0)]


@pytest.mark.parametrize(("rows", "value"), SCALES)
def test_case_016_keys_name_losses_metrics_file_and_wire(rows: int, value: float, tmp_path: Path, client: Any) -> None:
    model = once_twice()
    x, zeros = np.full((rows, 1), value, np.float32), np.zeros((rows, 1))
    y = {"twice": zeros, "once": zeros}
    want = {
        "loss": 5 * value**2, "once_loss": value**2, "twice_loss": 4 * value**2,
        "once_mae": abs(value), "twice_mae": 2 * abs(value),
    }  # fmt: skip
    assert model.evaluate(x, y, return_dict=True) == want
    history = model.fit(x, y, verbose=0, batch_size=rows)
    assert {k: v[0] for k, v in history.history.items()} == want
    model = once_twice()
    file, session = exported(model, tmp_path)
    assert [o.name for o in file.graph.output] == ["once", "twice"]
    answer = asked(client, "pair", {"x": x})
    assert [o.name for o in answer.get_response().outputs] == ["once", "twice"]
    for name, factor in (("once", 1), ("twice", 2)):
        np.testing.assert_array_equal(model.predict(x)[name], factor * x)
        np.testing.assert_array_equal(answer.as_numpy(name), factor * x)
    np.testing.assert_array_equal(session.run(["twice"], {"x": x})[0], 2 * x)


# 17: one entry, one loss


@pytest.mark.parametrize("sizes", [(5, 4, 2), (3, 7, 11), (13, 2, 5)])
@pytest.mark.parametrize("loss", ["mse", {"dt": "mse"}, ["mse"]], ids=["name", "dict", "list"])
def test_case_017_all_combinations_give_one_number(sizes: tuple[int, int, int], loss: Any) -> None:
    rows, steps, wide = sizes
    x, y = RNG.normal(size=sizes).astype(np.float32), RNG.normal(size=(rows, steps, 1)).astype(np.float32)
    i = Input((steps, wide))
    dense = layers.Dense(1)
    model = Model(i, {"dt": dense(i)})
    kernel, bias = (w.astype(np.float64) for w in dense.get_weights())
    model.compile("sgd", loss)
    want = np.mean((x.astype(np.float64) @ kernel + bias - y) ** 2)
    for given in (y, {"dt": y}):
        np.testing.assert_allclose(model.evaluate(x, given), want, rtol=1e-5)
    for given in (y, {"dt": y}):
        dense.set_weights([kernel, bias])
        found = model.fit(x, given, verbose=0, batch_size=rows).history
        assert list(found) == ["loss"]
        np.testing.assert_allclose(found["loss"], [want], rtol=1e-5)


# 19: sample weights for each output


def two_heads(a: float = 1.0, b: float = 1.0) -> Model:
    """Heads of one number each, whatever x is, that no step moves."""
    x = Input((1,), name="x")
    heads = {
        name: layers.Dense(1, kernel_initializer="zeros", bias_initializer=initializers.Constant(value), name=name)
        for name, value in (("a", a), ("b", b))
    }
    model = Model(x, {name: head(x) for name, head in heads.items()})
    model.compile(optimizers.SGD(0.0), {"a": "mse", "b": "mse"}, weighted_metrics={"a": ["mse"]})
    return model


WEIGHTS = [
    ({"a": [1, 0, 0, 0], "b": [1, 1, 1, 1]}, 1.0, 1.0),
    ([[1, 0, 0, 0], [1, 1, 1, 1]], 1.0, 1.0),
    ({"a": [1, 0, 0, 0]}, 1.0, 1.0),
    ([1, 0, 0, 0], 1.0, 1.0),
    ({"a": [2, 3, 5, 7], "b": [0, 0, 11, 0]}, 3.0, 5.0),
    ([0.5, 0.25, 0, 13], 2.0, 7.0),
    ({"b": [1, 0, 1, 0]}, 7.0, 3.0),
]


@pytest.mark.parametrize(("given", "a", "b"), WEIGHTS, ids=["dict", "list", "only a", "one", "primes", "one b", "b"])
def test_case_019_the_divisor_is_the_number_of_rows(given: Any, a: float, b: float) -> None:
    model = two_heads(a, b)
    x, zeros = np.ones((4, 1)), np.zeros((4, 1))
    y = {"a": zeros, "b": zeros}
    one_for_all = isinstance(given, list) and not isinstance(given[0], list)
    if isinstance(given, dict):
        weights = {k: np.array(v, np.float64) for k, v in given.items()}
        passed: Any = dict(weights)
    elif one_for_all:
        weights = {"a": np.array(given, np.float64), "b": np.array(given, np.float64)}
        passed = np.array(given)
    else:
        weights = {"a": np.array(given[0], np.float64), "b": np.array(given[1], np.float64)}
        passed = [np.array(w) for w in given]
    want = {n: np.mean(weights.get(n, np.ones(4)) * v**2) for n, v in (("a", a), ("b", b))}
    targets: Any = [zeros, zeros] if isinstance(passed, list) else y
    for found in (
        model.evaluate(x, targets, sample_weight=passed, return_dict=True),
        {k: v[0] for k, v in model.fit(x, targets, sample_weight=passed, verbose=0, batch_size=4).history.items()},
        model.train_on_batch(x, targets, sample_weight=passed, return_dict=True),
        model.test_on_batch(x, targets, sample_weight=passed, return_dict=True),
    ):
        np.testing.assert_allclose(
            [found["loss"], found["a_loss"], found["b_loss"]], [want["a"] + want["b"], want["a"], want["b"]], rtol=1e-6
        )
    assert "divided by the rows" in " ".join((Model.fit.__doc__ or "").split())


# 20: class weights of several outputs

CLASSES = [
    ([0, 1, 2], {0: 1.0, 1: 1.6, 2: 3.0}),
    ([2, 2, 0, 1, 1], {0: 2.0, 1: 0.5, 2: 7.0}),
    ([1, 0, 2, 2, 2, 1, 0], {2: 11.0}),
]


@pytest.mark.parametrize(("labels", "weights"), CLASSES)
def test_case_020_class_weights_of_one_head_are_applied(labels: list[int], weights: dict[int, float]) -> None:
    def built() -> Model:
        x = Input((1,), name="x")
        heads = {
            "eid": layers.Dense(3, kernel_initializer="zeros", name="eid")(x),
            "s": layers.Dense(2, kernel_initializer="zeros", name="s")(x),
        }
        model = Model(x, heads)
        model.compile(optimizers.SGD(0.0), losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    rows = len(labels)
    x, y = np.ones((rows, 1)), {"eid": np.array(labels), "s": np.zeros(rows, int)}
    want = np.log(3) * np.mean([weights.get(c, 1.0) for c in labels])
    for given in (y, [y["eid"], y["s"]]):
        found = built().fit(x, given, class_weight={"eid": weights}, verbose=0).history
        np.testing.assert_allclose([found["eid_loss"][0], found["s_loss"][0]], [want, np.log(2)], rtol=1e-6)
    on_batch = built().train_on_batch(x, y, class_weight={"eid": weights}, return_dict=True)
    np.testing.assert_allclose(on_batch["eid_loss"], want, rtol=1e-6)
    found = built().fit(x, y, verbose=0).history
    np.testing.assert_allclose(found["eid_loss"], [np.log(3)], rtol=1e-6)
    if labels == [0, 1, 2]:
        np.testing.assert_allclose(want, 2.0507, atol=1e-4)
    with pytest.raises(errors.ArgumentError, match=r"for 2 outputs must name them: \{'eid'"):
        built().fit(x, y, class_weight=weights, verbose=0)


# 22: a short last batch

ROWS = [[10.0, 10, 9], [2.0, 3, 5, 7, 11], [13.0, 0, 0, 1, 0, 0, 17]]


@pytest.mark.parametrize("values", ROWS, ids=["given", "five", "seven"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_case_022_the_epochs_loss_is_the_mean_over_rows(values: list[float], size: int) -> None:
    x = Input((1,), name="x")
    model = Model(x, ones()(x))
    model.compile(optimizers.SGD(0.0), "mae", metrics=["mae"])
    data, target = np.array(values)[:, None], np.zeros((len(values), 1))
    found = model.fit(data, target, batch_size=size, validation_data=(data, target), verbose=0).history
    told = model.evaluate(data, target, batch_size=size)
    want = np.mean(np.array(values))
    for number in (*(found[k][0] for k in ("loss", "mae", "val_loss", "val_mae")), *told):
        np.testing.assert_allclose(number, want, rtol=1e-6)
    batches = [(data[i : i + size], target[i : i + size]) for i in range(0, len(values), size)]
    np.testing.assert_allclose(model.fit(iter(batches), verbose=0).history["loss"], [want], rtol=1e-6)


# 23: masked steps

STEPS = [
    ([[[2.0], [0.0], [1.0]]], [[[0.0], [5.0], [1.0]]], 1.0),
    ([[[2.0], [0.0], [1.0]], [[0.0], [0.0], [0.0]]], [[[0.0], [5.0], [1.0]], [[3.0], [7.0], [11.0]]], 1.0),
    ([[[0.0], [3.0]], [[5.0], [7.0]]], [[[13.0], [1.0]], [[5.0], [0.0]]], (2 + 0 + 7) / 3),
    ([[[1.0], [0.0], [0.0], [0.0], [4.0]]], [[[3.0], [9.0], [9.0], [9.0], [1.0]]], (2 + 3) / 2),
]


@pytest.mark.parametrize(("x", "y", "want"), STEPS, ids=["given", "with an empty row", "two rows", "gap"])
def test_case_023_masked_steps_leave_sum_and_divisor(x: Any, y: Any, want: float) -> None:
    i = Input((len(x[0]), 1), name="x")
    model = Model(i, ones()(layers.Masking(0.0)(i)))
    model.compile(optimizers.SGD(0.5), "mae", metrics=["mae"])
    data, target = np.array(x, np.float32), np.array(y, np.float32)
    np.testing.assert_allclose(model.evaluate(data, target), [want, want], rtol=1e-6)
    np.testing.assert_allclose(model.train_on_batch(data, target), [want, want], rtol=1e-6)
    live = data != 0
    slope = np.sum(np.where(live, np.sign(data - target) * data, 0), dtype=np.float64) / live.sum()
    np.testing.assert_allclose(model.get_weights()[0], [[1 - 0.5 * slope]], rtol=1e-6)
    assert "Masked steps leave both the sum and the divisor" in (losses.Loss.__doc__ or "")


# 25: penalties

PENALTIES = [
    (regularizers.L1(1.0), 1, 1.0),
    (regularizers.L2(0.5), 3, 0.5 * 3),
    (regularizers.L1L2(l1=2.0, l2=7.0), 2, (2.0 + 7.0) * 2),
]


@pytest.mark.parametrize(("regularizer", "wide", "want"), PENALTIES, ids=["l1", "l2", "both"])
def test_case_025_a_layer_used_twice_is_penalized_once(regularizer: Any, wide: int, want: float) -> None:
    i = Input((wide,), name="i")
    inner = Model(i, ones(kernel_regularizer=regularizer)(i), name="inner")
    j = Input((wide,), name="j")
    outer = Model(j, inner(j), name="outer")
    a, b = Input((wide,), name="a"), Input((wide,), name="b")
    model = Model([a, b], outer(a) + outer(b))
    model.compile("sgd", "mse")
    zeros, target = np.zeros((5, wide), np.float32), np.zeros((5, 1))
    assert float(sum(model.losses)) == want
    np.testing.assert_allclose(model.evaluate([zeros, zeros], target), want, rtol=1e-6)
    np.testing.assert_allclose(model.fit([zeros, zeros], target, verbose=0).history["loss"], [want], rtol=1e-6)
    outer.set_weights([np.ones((wide, 1))])
    for _ in range(5):
        model([zeros, zeros])
        assert float(sum(model.losses)) == want


@pytest.mark.parametrize(("rows", "value", "calls"), [(3, 2.0, 1), (5, 1.0, 2), (2, 3.0, 3)])
def test_case_025_an_activity_regularizer_counts_once_a_call(rows: int, value: float, calls: int) -> None:
    layer = ones(activity_regularizer=regularizers.L1(1.0))

    class Often(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer

        def call(self, inputs: Any) -> Any:
            return sum(self.inner(inputs) for _ in range(calls))

    i = Input((1,), name="i")
    model = Model(i, Often()(i))
    model.compile(optimizers.SGD(0.0), "mse")
    data = np.full((rows, 1), value, np.float32)
    want = float(np.sum(calls * np.abs(data), dtype=np.float64) / rows)
    for _ in range(3):
        model(data)
        np.testing.assert_allclose(sum(float(x) for x in model.losses), want, rtol=1e-6)
    loss = model.evaluate(data, data * calls)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    assert "once a call" in " ".join((Layer.__doc__ or "").split())
