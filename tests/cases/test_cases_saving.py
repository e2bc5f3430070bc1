"""Cases of people who save and load: 5 and 13 when saved, 31, 32, 104; 29 stands in test_cases_resume.py."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from graphkit import Input, Layer, Model, Sequential, callbacks, errors, layers, losses, models, optimizers, utils
from graphkit.layers import Dense
from tests.cases.resume import elsewhere
from tests.cases.test_cases_resume import regular

RNG = np.random.default_rng(29)


# 5: two sub-models of one name


def encoder(name: str) -> Model:
    i = Input((2,))
    return Model(i, Dense(1, use_bias=False, name="k")(i), name=name)


class Pair(Model):
    """Two sub-models of one name, held by attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = encoder("enc"), encoder("enc")

    def call(self, x: Any) -> Any:
        return self.one(x) + self.two(x)


@pytest.mark.parametrize(
    ("x", "want"), [([[2, 3]], [[32]]), ([[1, 0], [0.5, -2]], [[1], [-19.5]])], ids=["given", "rows"]
)
@pytest.mark.parametrize("form", ["functional", "subclass"])
def test_case_005_saved_sub_models_keep_their_kernels_apart(x: Any, want: Any, form: str, tmp_path: Path) -> None:
    if form == "functional":
        one, two = encoder("enc"), encoder("enc_1")
        i = Input((2,))
        outer: Any = Model(i, one(i) + two(i))
    else:
        outer = Pair()
        one, two = outer.one, outer.two
    data = np.array(x, np.float32)
    outer(data)
    one.set_weights([np.array([[1], [0]])])
    two.set_weights([np.array([[0], [10]])])
    outer.save(tmp_path / "m.gk")
    outer.save_weights(tmp_path / "w")
    assert len(load((tmp_path / "w").read_bytes())) == 2
    other = models.load_model(tmp_path / "m.gk", {"Pair": Pair})
    np.testing.assert_array_equal(other.predict(data), want)
    other.set_weights([np.zeros((2, 1))] * 2)
    other.load_weights(tmp_path / "w")
    np.testing.assert_array_equal(other.predict(data), want)


# 13: layers in lists and dicts


@utils.register_serializable(package="tests")
class Held(Model):
    """Layers in a list, in a dict, and a weight in a list."""

    def __init__(self, inner: int = 2) -> None:
        super().__init__()
        self.blocks: list[Any] = []
        for _ in range(3):
            self.blocks.append(Dense(inner))
        self.heads = {"p": Dense(1)}
        self.scales = [self.add_weight((), "ones", name="scale")]

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.heads["p"](x) * self.scales[0]


@pytest.mark.parametrize(("inner", "width"), [(2, 2), (5, 3)], ids=["given", "wider"])
def test_case_013_saved_lists_and_dicts_round_trip(inner: int, width: int, tmp_path: Path) -> None:
    model = Held(inner)
    x = RNG.normal(size=(4, width)).astype("float32")
    model(x[:1])
    model.compile(optimizers.SGD(0.5), "mse")
    assert len(model.trainable_weights) == 9
    before = model.get_weights()
    model.train_on_batch(x, np.ones((4, 1)))
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "m.gk")
    utils.clear_session()
    [Dense(2) for _ in range(5)]
    other = models.load_model(tmp_path / "m.gk")
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.predict(x), other.predict(x))
    fresh = Held(inner)
    fresh(x)
    model.save_weights(tmp_path / "w")
    assert len(fresh.load_weights(tmp_path / "w").loaded) == 9
    np.testing.assert_array_equal(model.predict(x), fresh.predict(x))


# 31: weights by name, in another order of creation


def left_and_right(right_first: bool, width: int = 3, units: int = 4) -> Model:
    x = Input((width,))
    if right_first:
        right = Dense(units, name="right")
        left = Dense(units, name="left", trainable=False)
        outputs = [right(x), left(x)][::-1]
    else:
        outputs = [Dense(units, name="left")(x), Dense(units, name="right")(x)]
    return Model(x, layers.Concatenate(name="both")(outputs))


@pytest.mark.parametrize(("width", "units"), [(3, 4), (5, 5)], ids=["given", "square"])
def test_case_031_weights_go_by_name(width: int, units: int, tmp_path: Path) -> None:
    model, other = left_and_right(False, width, units), left_and_right(True, width, units)
    model.save_weights(tmp_path / "w")
    assert len(other.load_weights(tmp_path / "w").loaded) == 4
    x = RNG.normal(size=(6, width))
    np.testing.assert_array_equal(model.predict(x), other.predict(x))
    assert [w.trainable for w in other.get_layer("left").weights] == [False, False]


def three_levels(turned: bool) -> Model:
    def level(inner: Any, depth: int) -> Model:
        i = Input((4,))
        names = [f"a{depth}", f"b{depth}"]
        made = {n: Dense(4, name=n) for n in (names[::-1] if turned else names)}
        if turned:
            made[names[0]].trainable = False
        h = layers.BatchNormalization(name=f"bn{depth}")(made[names[0]](i)) + made[names[1]](i)
        return Model(i, h if inner is None else inner(h), name=f"level{depth}")

    return level(level(level(None, 3), 2), 1)


def test_case_031_three_levels_with_batch_normalization(tmp_path: Path) -> None:
    model, other = three_levels(False), three_levels(True)
    model.compile("sgd", "mse")
    x = RNG.normal(size=(9, 4))
    model.fit(x, x, epochs=2, verbose=0)
    model.save_weights(tmp_path / "w")
    report = other.load_weights(tmp_path / "w")
    assert (len(report.loaded), report.skipped, report.missing) == (24, [], [])
    np.testing.assert_array_equal(model.predict(x), other.predict(x))


@pytest.mark.parametrize("units", [5, 3])
def test_case_031_another_shape_names_layer_variable_and_both_shapes(units: int, tmp_path: Path) -> None:
    left_and_right(False).save_weights(tmp_path / "w")
    other = left_and_right(True, 3, units)
    with pytest.raises(errors.ShapeError) as caught:
        other.load_weights(tmp_path / "w")
    for part in ("'left'", "left/kernel", "(3, 4)", f"(3, {units})"):
        assert part in str(caught.value)


# 32: the best weights, though training ends by itself


@pytest.mark.parametrize(("rate", "factor"), [(1.5, -2.0), (2.0, -3.0)], ids=["given", "faster"])
def test_case_032_best_weights_when_training_ends_by_itself(rate: float, factor: float) -> None:
    i = Input((1,))
    model = Model(i, Dense(1, use_bias=False, kernel_initializer="ones")(i))
    model.compile(optimizers.SGD(rate), "mse")
    x, y = np.ones((1, 1)), np.zeros((1, 1))
    stop = callbacks.EarlyStopping("val_loss", patience=10, restore_best_weights=True)
    history = model.fit(x, y, epochs=3, validation_data=(x, y), callbacks=[stop], verbose=0)
    np.testing.assert_allclose(history.history["val_loss"], [factor ** (2 * n) for n in (1, 2, 3)])
    np.testing.assert_allclose(model.get_weights()[0], [[factor]])
    assert stop.best_epoch == 0


@pytest.mark.parametrize("monitor", ["val_x", "val_loss"])
def test_case_032_a_missing_figure_is_told_with_those_there_are(monitor: str) -> None:
    i = Input((1,))
    model = Model(i, Dense(1)(i))
    model.compile("sgd", "mse", metrics=["mae"])
    with pytest.warns(UserWarning, match=rf"'{monitor}'.*loss, mae") as told:
        model.fit(np.ones((2, 1)), np.ones((2, 1)), epochs=3, callbacks=[callbacks.EarlyStopping(monitor)], verbose=0)
    assert len(told) == 1


# 104: classes of the person's own


def scale_class(with_config: bool) -> Any:
    class Scale(Layer):
        def __init__(self, factor: float = 1.0) -> None:
            super().__init__()
            self._by = factor

        def build(self, input_shape: Any) -> None:
            self.offset = self.add_weight((input_shape[-1],), "glorot_uniform", name="offset")

        def call(self, x: Any) -> Any:
            return x * self._by + self.offset

    if with_config:

        class Configured(Scale):
            def __init__(self, factor: float = 1.0, name: str | None = None) -> None:
                super().__init__(factor)
                self.name = name or self.name

            def get_config(self) -> dict[str, Any]:
                return {"factor": self._by, "name": self.name}

        Configured.__name__ = "Scale"
        return Configured
    return Scale


class Squared(losses.Loss):
    def __init__(self, weight: float, **more: Any) -> None:
        super().__init__(**more)
        self._weight = weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return (y_true - y_pred) * (y_true - y_pred) * self._weight


def with_scale(scale: Any) -> Model:
    x = Input((3,))
    return Model(x, Dense(2)(Sequential([scale(factor=3.0), Dense(3)], name="inside")(x)))


@pytest.mark.parametrize("with_config", [False, True], ids=["no get_config", "get_config"])
@pytest.mark.parametrize("how", ["custom_objects", "decorator", "decorated before"])
def test_case_104_layers_of_ones_own(with_config: bool, how: str, tmp_path: Path) -> None:
    scale = scale_class(with_config)
    package = f"{how}{with_config}"
    if how == "decorated before":
        utils.register_serializable(package)(scale)
    model = with_scale(scale)
    model.save(tmp_path / "m.gk")
    given = {"Scale": scale} if how == "custom_objects" else None
    if how == "decorator":
        utils.register_serializable(package)(scale)
    other = models.load_model(tmp_path / "m.gk", given)
    x = RNG.normal(size=(4, 3))
    np.testing.assert_array_equal(model.predict(x), other.predict(x))
    found = other.get_layer("inside").layers[0]
    assert found._by == 3.0
    assert found.name == "scale"


@pytest.mark.parametrize("with_config", [False, True], ids=["no get_config", "get_config"])
def test_case_104_without_the_class_the_error_says_how(with_config: bool, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("graphkit.models.config._registered", {})
    with_scale(scale_class(with_config)).save(tmp_path / "m.gk")
    with pytest.raises(errors.SavingError) as caught:
        models.load_model(tmp_path / "m.gk")
    for part in ("'Scale'", "tests.cases.test_cases_saving", "custom_objects", "register_serializable"):
        assert part in str(caught.value)


@pytest.mark.parametrize("weight", [2.0, 0.5])
def test_case_104_a_loss_of_ones_own(weight: float, tmp_path: Path) -> None:
    i = Input((3,))
    model = Model(i, Dense(2)(i))
    model.compile("sgd", Squared(weight, reduction="sum"))
    x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2))
    want = model.evaluate(x, y)
    model.save(tmp_path / "m.gk")
    assert models.load_model(tmp_path / "m.gk", {"Squared": Squared}).evaluate(x, y) == want
    with pytest.raises(errors.SavingError, match=r"'Squared' of module.*custom_objects"):
        models.load_model(tmp_path / "m.gk")
    plain = models.load_model(tmp_path / "m.gk", compile=False)
    assert not plain.compiled
    np.testing.assert_array_equal(plain.predict(x), model.predict(x))


def test_case_104_predictions_in_another_process(tmp_path: Path) -> None:
    model = regular("adam", 1)
    x = RNG.normal(size=(6, 5))
    model.save(tmp_path / "start.gk")
    np.save(tmp_path / "x.npy", x)
    elsewhere("predict", tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.predict(x))
    with zipfile.ZipFile(tmp_path / "start.gk") as archive:
        assert "module" not in json.loads(archive.read("config.json"))["layers"][0]
