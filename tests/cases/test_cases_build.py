"""Cases 1 to 8 of people who build models: names and orders, two of one name, free and fixed sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from graphkit import Input, Model, errors, layers
from tests.cases.serving import asked, served
from tests.export.test_export import exported


def ones(units: int, **kwargs: Any) -> layers.Dense:
    return layers.Dense(units, use_bias=False, kernel_initializer="ones", **kwargs)


def zeta_alpha() -> Model:
    p, q = Input((4,), name="zeta"), Input((4,), name="alpha")
    return Model({"zeta": p, "alpha": q}, {"y": p - q})


def one_feature() -> Model:
    x = Input((6, 3), name="feat")
    model = Model({"feat": x}, {"y": layers.Dense(1, kernel_initializer="ones")(x)})
    model.compile("sgd", "mse")
    return model


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    models = {"difference": zeta_alpha(), "feature": one_feature()}
    with served(models, tmp_path_factory.mktemp("repository")) as found:
        yield found


# 1: dict inputs are matched by key

ZETA, ALPHA = np.ones((1, 4), np.float32), np.zeros((1, 4), np.float32)
SEVEN, ELEVEN = np.full((3, 4), 7, np.float32), np.full((3, 4), 11, np.float32)
PAIRS = [(ZETA, ALPHA, 1.0), (SEVEN, ELEVEN, -4.0), (ELEVEN[:2], SEVEN[:2], 4.0)]


@pytest.mark.parametrize(("zeta", "alpha", "want"), PAIRS, ids=["ours", "three rows", "two rows"])
@pytest.mark.parametrize("form", ["declared", "reversed", "list", "tuple", "served reversed", "served declared"])
def test_case_001_dict_inputs_go_by_key(zeta: Any, alpha: Any, want: float, form: str, client: Any) -> None:
    given: Any = {"zeta": zeta, "alpha": alpha} if "declared" in form else {"alpha": alpha, "zeta": zeta}
    if form in ("list", "tuple"):
        given = [zeta, alpha] if form == "list" else (zeta, alpha)
    if form.startswith("served"):
        answers = [asked(client, "difference", given).as_numpy("y")]
    else:
        model = zeta_alpha()
        answers = [model.predict(given)["y"], np.asarray(model(given)["y"])]
    for found in answers:
        np.testing.assert_array_equal(found, np.full(zeta.shape, want))


def test_case_001_fit_takes_the_same_four_forms() -> None:
    for given in ({"zeta": SEVEN, "alpha": ELEVEN}, {"alpha": ELEVEN, "zeta": SEVEN}, [SEVEN, ELEVEN]):
        p, q = Input((4,), name="zeta"), Input((4,), name="alpha")
        model = Model({"zeta": p, "alpha": q}, ones(1)(p - q))
        model.compile("sgd", "mae")
        assert model.fit(given, np.zeros((3, 1)), verbose=0).history["loss"] == [16.0]


# 2: an extra key is refused by name

BAD = np.zeros(2, np.float32)
GOOD = np.zeros((2, 6, 3), np.float32)
EXTRA = [("aaa", BAD), ("zzz", np.zeros((2, 5), np.float32)), ("feat2", GOOD)]


@pytest.mark.parametrize(("name", "value"), EXTRA, ids=[e[0] for e in EXTRA])
@pytest.mark.parametrize("call", ["fit", "predict", "evaluate", "train_on_batch", "generator", "model"])
def test_case_002_an_unknown_key_is_named_with_the_known_ones(name: str, value: Any, call: str) -> None:
    model = one_feature()
    target = np.zeros((2, 6, 1))
    does: dict[str, Any] = {
        "fit": lambda x: model.fit(x, target, verbose=0),
        "predict": model.predict,
        "evaluate": lambda x: model.evaluate(x, target),
        "train_on_batch": lambda x: model.train_on_batch(x, target),
        "generator": lambda x: model.fit(iter([(x, target)]), verbose=0),
        "model": model,
    }
    for given in ({name: value, "feat": GOOD}, {"feat": GOOD, name: value}):
        with pytest.raises(ValueError, match=f"'{name}'.*'feat'") as caught:
            does[call](given)
        assert "shape" not in str(caught.value)
    np.testing.assert_array_equal(model.predict({"feat": GOOD})["y"], np.zeros((2, 6, 1)))


@pytest.mark.parametrize(("name", "value"), EXTRA, ids=[e[0] for e in EXTRA])
def test_case_002_the_server_refuses_it_too(name: str, value: Any, client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match=f"'{name}'") as caught:
        asked(client, "feature", {name: value, "feat": GOOD})
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "'feat'" in caught.value.message() or "feat" in caught.value.message().replace("feat2", "")
    np.testing.assert_array_equal(asked(client, "feature", {"feat": GOOD}).as_numpy("y"), np.zeros((2, 6, 1)))


# 4: operators and the layers of the same names


@pytest.mark.parametrize("x", [[[3, -2]], [[0, 0.5]], [[-7, 11], [5, 13], [2, 3]]], ids=["given", "small", "rows"])
def test_case_004_operators_and_layers_of_one_name(x: Any, tmp_path: Path) -> None:
    data = np.array(x, np.float32)
    for turn in range(2):
        i = Input((2,))
        u, v, w, z = i + i, layers.Add()([i, i]), i * i, layers.Multiply()([i, i])
        model = Model(i, [u, v, w, z])
        names = [layer.name for layer in model.layers]
        assert len(set(names)) == len(names)
        folder = tmp_path / str(turn)
        folder.mkdir()
        file, session = exported(model, folder, verify=True)
        nodes = [n.name for n in file.graph.node]
        assert len(set(nodes)) == len(nodes)
        onnx.checker.check_model(file, full_check=True)
        for found in (model.predict(data), session.run(None, {model.input_names[0]: data})):
            for got, want in zip(found, [data + data, data + data, data * data, data * data], strict=True):
                np.testing.assert_array_equal(got, want)
        assert len(set(model.output_names or [])) == 4


# 5: two models of one name inside one


def encoder(name: str, kernel: Any) -> Model:
    i = Input((len(kernel),))
    model = Model(i, layers.Dense(1, use_bias=False, name="k")(i), name=name)
    model.set_weights([np.array(kernel, np.float32)])
    return model


def test_case_005_two_of_one_name_are_refused_with_both_and_the_remedy() -> None:
    one, other = encoder("enc", [[1], [0]]), encoder("enc", [[0], [10]])
    x = Input((2,), name="x")
    with pytest.raises(errors.ArgumentError, match=r"two layers are named 'enc' \(Model, Model\); .*name="):
        Model(x, one(x) + other(x))
    with pytest.raises(errors.ArgumentError, match=r"two layers are named 'same' \(Dense, Model\)"):
        Model(x, layers.Dense(1, name="same")(x) + encoder("same", [[1], [0]])(x))


CODES = [
    ([[1], [0]], [[0], [10]], [[2, 3]], 32.0),
    ([[2], [7]], [[-1], [3]], [[5, 11]], 2 * 5 + 7 * 11 - 5 + 3 * 11),
    ([[1], [2], [3]], [[5], [7], [11]], [[1, 1, 1]], 29.0),
]


@pytest.mark.parametrize(("first", "second", "data", "want"), CODES, ids=["given", "other kernels", "three wide"])
def test_case_005_under_names_of_their_own_both_keep_their_kernels(
    first: Any, second: Any, data: Any, want: float, tmp_path: Path
) -> None:
    x = Input((len(first),), name="x")
    one, other = encoder("enc", first), encoder("enc_1", second)
    outer = Model(x, {"sum": one(x) + other(x)})
    given = np.array(data, np.float32)
    np.testing.assert_array_equal(outer.predict(given)["sum"], [[want]])
    file, session = exported(outer, tmp_path)
    kept = {t.name: onnx.numpy_helper.to_array(t).tolist() for t in file.graph.initializer}
    assert kept == {"enc/k/kernel": np.array(first).tolist(), "enc_1/k/kernel": np.array(second).tolist()}
    np.testing.assert_array_equal(session.run(None, {"x": given})[0], [[want]])


# 7: Flatten and Dense on a size nobody knows


@pytest.mark.parametrize("wide", [100, 7, 13])
def test_case_007_flatten_of_a_free_length_fails_at_the_dense_layer(wide: int) -> None:
    flat = layers.Flatten(name="fl")(Input((None, wide), name="tok"))
    with pytest.raises(errors.ShapeError, match=r"head: .*\(None, None\).*fixed length, or pool"):
        layers.Dense(5, name="head")(flat)


@pytest.mark.parametrize("lengths", [(3,), (5, 11), (1, 7, 2)])
def test_case_007_reshape_with_a_free_size_works_and_exports_free(lengths: tuple[int, ...], tmp_path: Path) -> None:
    x = Input((None, 4), name="x")
    dense = layers.Dense(1)
    model = Model(x, {"y": dense(layers.Reshape((-1, 2))(x))})
    kernel, bias = dense.get_weights()
    file, session = exported(model, tmp_path, verify=True)
    for value in (*file.graph.input, *file.graph.output):
        free = value.type.tensor_type.shape.dim
        assert free[0].dim_param
        assert free[1].dim_param
    for rows, length in zip((2, 3, 5), lengths, strict=False):
        data = np.arange(rows * length * 4, dtype=np.float32).reshape(rows, length, 4) / 7
        want = data.astype(np.float64).reshape(rows, 2 * length, 2) @ kernel.astype(np.float64) + bias
        assert want.shape == (rows, 2 * length, 1)
        for found in (model.predict(data)["y"], session.run(None, {"x": data})[0]):
            np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


# 8: fixed and free pictures


def convolution(shape: Any) -> Model:
    x = Input(shape, name="img")
    layer = layers.Conv2D(1, 3, kernel_initializer="ones", use_bias=False, padding="valid")
    return Model(x, {"y": layer(x)})


@pytest.mark.parametrize("size", [(20, 20), (11, 10), (10, 13)])
def test_case_008_a_fixed_size_names_the_input_and_both_shapes(size: tuple[int, int]) -> None:
    model = convolution((10, 10, 1))
    want = rf"'img' has shape \(1, {size[0]}, {size[1]}, 1\), expected \(None, 10, 10, 1\)"
    for call in (model, model.predict):
        with pytest.raises(errors.ShapeError, match=want):
            call(np.ones((1, *size, 1), np.float32))


def windows(data: Any) -> Any:
    """The sums over 3 by 3 windows, in float64."""
    return np.lib.stride_tricks.sliding_window_view(data.astype(np.float64), (3, 3), (1, 2)).sum((-1, -2))


def test_case_008_a_free_size_takes_every_size(tmp_path: Path) -> None:
    model = convolution((None, None, 1))
    _, session = exported(model, tmp_path, verify=True)
    for rows, high, wide in ((1, 20, 20), (1, 10, 10), (1, 3, 3), (2, 7, 11), (3, 5, 13)):
        data = (
            np.ones((rows, high, wide, 1), np.float32) * np.arange(1, rows + 1, dtype=np.float32)[:, None, None, None]
        )
        want = windows(data)
        for found in (model.predict(data)["y"], session.run(None, {"img": data})[0]):
            assert found.shape == (rows, high - 2, wide - 2, 1)
            np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(model.predict(np.ones((1, 20, 20, 1)))["y"], np.full((1, 18, 18, 1), 9.0))


@pytest.mark.parametrize("size", [(2, 2), (2, 7), (5, 1)])
def test_case_008_a_picture_below_the_kernel_is_told(size: tuple[int, int], tmp_path: Path) -> None:
    model = convolution((None, None, 1))
    data = np.ones((1, *size, 1), np.float32)
    with pytest.raises(
        errors.ShapeError, match=rf"conv2d.*window of \(3, 3\) does not fit into \({size[0]}, {size[1]}\)"
    ):
        model.predict(data)
    _, session = exported(model, tmp_path)
    with pytest.raises(InvalidArgument, match="Invalid input shape"):
        session.run(None, {"img": data})
