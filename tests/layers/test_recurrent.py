"""Recurrent layers beyond their rows: no rows and no steps exported, long runs, memory, dropout, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from graphkit import GradientTape, Input, Model, layers, ops
from graphkit.core.errors import ArgumentError, ExportError, ShapeError
from graphkit.layers.recurrent import Recurrent
from tests.ops.harness import close, same

F, U = 11, 2
KINDS: dict[str, Callable[..., Any]] = {
    "lstm": layers.LSTM,
    "gru": layers.GRU,
    "gru_before": lambda units, **given: layers.GRU(units, reset_after=False, **given),
    "simple_rnn": layers.SimpleRNN,
    "lstm_softplus": lambda units, **given: layers.LSTM(units, activation="softplus", **given),
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
RNG = np.random.default_rng(19)


def session_of(model: Model, folder: Path) -> Any:
    path = folder / "model.onnx"
    model.export(path, verify=False)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def model_of(layer: Any, masked: bool) -> Model:
    x = Input((None, F), name="x")
    m = Input((None,), dtype="bool", name="m")
    return Model([x, m], layer(x, mask=m)) if masked else Model(x, layer(x))


@each_kind
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("wrap", [False, True], ids=["alone", "bidirectional"])
def test_no_rows_and_no_steps(make: Any, masked: bool, wrap: bool, tmp_path: Path) -> None:
    """onnxruntime ends the process on such sizes where the lowering does not pad."""
    layer = make(U, return_sequences=True, return_state=True)
    model = model_of(layers.Bidirectional(layer) if wrap else layer, masked)
    session = session_of(model, tmp_path)
    for batch, time in ((0, 0), (0, 7), (3, 0), (3, 7), (1, 1)):
        feeds = {"x": RNG.normal(size=(batch, time, F)).astype(np.float32)}
        if masked:
            feeds["m"] = RNG.integers(0, 2, (batch, time)).astype(bool)
        want = model.predict(feeds)
        for got, expected in zip(session.run(None, feeds), want, strict=True):
            close(got, expected, 1e-5, f"batch {batch}, length {time}")


@each_kind
def test_a_hundred_steps(make: Any, tmp_path: Path) -> None:
    model = model_of(make(U, return_sequences=True, bias_initializer="ones"), masked=True)
    session = session_of(model, tmp_path)
    feeds = {"x": RNG.normal(size=(3, 100, F)).astype(np.float32), "m": RNG.integers(0, 5, (3, 100)) > 0}
    close(session.run(None, feeds)[0], model.predict(feeds), 1e-5, "a hundred steps")


@each_kind
def test_a_gap_is_no_step(make: Any) -> None:
    """Padding behind, in front and between gives what the live steps alone give; a row of padding the first state."""
    layer = make(U, bias_initializer="ones")
    live = RNG.normal(size=(1, 3, F)).astype(np.float32)
    want = np.asarray(layer(live))
    for places in ([0, 1, 2], [4, 5, 6], [1, 4, 6]):
        x, mask = np.full((1, 7, F), 5.0, np.float32), np.zeros((1, 7), bool)
        x[0, places], mask[0, places] = live, True
        close(layer(x, mask=mask), want, 1e-6, f"steps at {places}")
    state = [np.full((1, U), 0.3, np.float32)] * layer.n_states
    same(layer(x, mask=np.zeros((1, 7), bool), initial_state=state), state[0], "a row of padding")
    same(layer(x, mask=np.zeros((1, 7), bool)), np.zeros((1, U), np.float32), "a row of padding")


@each_kind
def test_a_stateful_layer_goes_on(make: Any) -> None:
    x = RNG.normal(size=(3, 14, F)).astype(np.float32)
    one = make(U, return_sequences=True)
    want = np.asarray(one(x))
    kept = make(U, return_sequences=True, stateful=True)
    kept(x[:, :7])
    kept.set_weights(one.get_weights())
    for _ in range(2):
        kept.reset_state()
        found = [np.asarray(kept(x[:, :7])), np.asarray(kept(x[:, 7:]))]
        close(np.concatenate(found, 1), want, 1e-6, "two halves")
    assert len(kept.weights) == len(one.weights)
    with pytest.raises(ShapeError, match="with 3 rows, got 5"):
        kept(RNG.normal(size=(5, 7, F)).astype(np.float32))


def test_a_stateful_model_goes_on() -> None:
    """Through predict, which runs a plan."""
    x = Input(batch_shape=(3, None, F), name="x")
    layer = layers.GRU(U, stateful=True)
    model = Model(x, layer(x))
    array = RNG.normal(size=(3, 7, F)).astype(np.float32)
    first, second = (model.predict(array, batch_size=3) for _ in range(2))
    assert abs(first - second).max() > 1e-3
    layer.reset_state()
    same(model.predict(array, batch_size=3), first, "after reset_state")
    eager = layers.GRU(U)
    eager(array)
    eager.set_weights(layer.get_weights())
    close(second, eager(np.concatenate([array, array], 1)), 1e-6, "twice")


def test_a_stateful_model_is_not_exported(tmp_path: Path) -> None:
    x = Input(batch_shape=(3, None, F), name="x")
    model = Model(x, layers.Bidirectional(layers.LSTM(U, stateful=True, name="lstm"))(x))
    with pytest.raises(ExportError, match=r"forward_lstm.*stateful=False"):
        model.export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@each_kind
def test_dropout_is_for_training_and_alike_at_each_step(make: Any) -> None:
    x = np.ones((200, 3, F), np.float32)
    layer = make(U, dropout=0.5, recurrent_dropout=0.3, seed=5, return_sequences=True)
    same(layer(x), layer(x, training=False), "without training")
    plain = make(U, return_sequences=True)
    plain(x)
    plain.set_weights(layer.get_weights())
    close(layer(x), plain(x), 1e-6, "dropout without training")
    dropped = np.asarray(layer(x, training=True))
    assert len(np.unique(dropped[:, 0].round(6), axis=0)) > 20
    assert abs(dropped - np.asarray(layer(x, training=True))).max() > 1e-3
    with GradientTape() as tape:
        y = ops.sum(layer(x, training=True))
    assert all(np.isfinite(np.asarray(g)).all() for g in tape.gradient(y, layer.trainable_weights))


def test_input_dropout_keeps_the_mean() -> None:
    """A linear recurrence that only sums its input: on average dropout changes nothing."""
    layer = layers.SimpleRNN(1, "linear", kernel_initializer="ones", recurrent_initializer="ones", dropout=0.25, seed=3)
    found = np.asarray(layer(np.ones((4000, 3, F), np.float32), training=True))
    assert abs(found.mean() / (3 * F) - 1) < 0.02
    steps = found / 3
    assert np.allclose((steps * 0.75).round(), steps * 0.75, atol=1e-3), "each step drops the same elements"


def test_wrappers_name_and_copy_their_layers() -> None:
    pattern = layers.GRU(U, kernel_initializer="he_normal", name="gru", return_sequences=True)
    wrapped = layers.Bidirectional(pattern, name="both")
    x = RNG.normal(size=(3, 5, F)).astype(np.float32)
    wrapped(x)
    assert [w.path for w in wrapped.weights] == [
        f"both/{way}_gru/{name}" for way in ("forward", "backward") for name in ("kernel", "recurrent_kernel", "bias")
    ]
    assert not pattern.weights
    assert abs(wrapped.weights[0].numpy() - wrapped.weights[3].numpy()).max() > 0.01
    config = wrapped.get_config()
    assert config["layer"] is pattern
    assert config["name"] == "both"


def test_masks_behind_the_wrappers() -> None:
    x = Input((None, F), name="x")
    m = Input((None,), dtype="bool", name="m")
    both = layers.Bidirectional(layers.GRU(U, return_sequences=True))(x, mask=m)
    assert both.mask is not None
    pair = layers.Bidirectional(layers.GRU(U, return_sequences=True), None)(x, mask=m)
    assert [p.mask is not None for p in pair] == [True, True]
    assert layers.Bidirectional(layers.GRU(U))(x, mask=m).mask is None
    assert layers.TimeDistributed(layers.Dense(3))(both).mask is not None
    ids = np.array([[3, 5, 0], [0, 0, 0]])
    table = layers.Embedding(7, F, mask_zero=True)(ids)
    same(layers.TimeDistributed(layers.Dense(3))(table).mask, ids != 0, "the mask of the steps")
    inner = np.ones((2, 3, 5, F), np.float32)
    gone = np.zeros((2, 3, 5), bool)
    same(
        layers.TimeDistributed(layers.LSTM(U))(inner, mask=gone),
        np.zeros((2, 3, U), np.float32),
        "masks of inner steps",
    )


class Leaky(layers.Layer):
    """A cell of a person's own: h = h / 2 + x W."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight((input_shape[-1], self.state_size), name="kernel")

    def call(self, inputs: Any, states: Any) -> Any:
        h = states[0] * 0.5 + ops.matmul(inputs, self.kernel)
        return h, [h]


def test_a_cell_of_ones_own() -> None:
    x = RNG.normal(size=(3, 5, F)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
    layer = layers.RNN(Leaky(U), return_sequences=True, return_state=True)
    found = [np.asarray(v) for v in layer(x, mask=mask)]
    h, want = np.zeros((3, U)), []
    for t in range(5):
        h = np.where(mask[:, t, None], h * 0.5 + x[:, t] @ layer.get_weights()[0], h)
        want.append(h)
    close(found[0], np.stack(want, 1), 1e-6, "sequence")
    close(found[1], h, 1e-6, "state")
    assert [w.name for w in layer.trainable_weights] == ["kernel"]
    with GradientTape() as tape:
        y = ops.sum(layer(x)[0])
    assert np.asarray(tape.gradient(y, layer.trainable_weights)[0]).any()
    model = Model(s := Input((5, F), name="x"), layers.RNN(Leaky(U))(s))
    assert model.predict(x).shape == (3, U)


@pytest.mark.parametrize(
    ("error", "make", "match"),
    [
        (ArgumentError, lambda: layers.GRU(0), "units"),
        (ArgumentError, lambda: layers.SimpleRNN(U, dropout=1.0), "dropout"),
        (ArgumentError, lambda: layers.Bidirectional(layers.GRU(U), "max"), "merge_mode"),
        (ArgumentError, lambda: layers.Bidirectional(layers.Dense(U)), "recurrent"),
        (ArgumentError, lambda: layers.Bidirectional(layers.GRU(U), backward_layer=layers.GRU(U)), "go_backwards"),
        (
            ArgumentError,
            lambda: layers.Bidirectional(
                layers.GRU(U), backward_layer=layers.GRU(U, go_backwards=True, return_sequences=True)
            ),
            "return_sequences",
        ),
        (ArgumentError, lambda: layers.TimeDistributed(ops.tanh), "layer"),
        (ArgumentError, lambda: layers.RNN(layers.Dense(U)), "state_size"),
        (ArgumentError, lambda: layers.RNN(layers.GRUCell(U, dropout=0.5))(np.ones((2, 3, F))), "no dropout"),
        (ShapeError, lambda: layers.RNN(layers.GRUCell(U))(np.ones((2, 3))), "batch, steps, features"),
        (ShapeError, lambda: layers.RNN(Leaky(U))(Input((None, F))), "fixed number of steps"),
        (ShapeError, lambda: layers.TimeDistributed(layers.Dense(U))(np.ones((2, 3))), "rank 3"),
        (ShapeError, lambda: layers.GRU(U)(np.ones((2, 3))), "batch, steps, features"),
        (ShapeError, lambda: layers.GRU(U, stateful=True)(Input((3, F))), "fixed batch"),
        (ArgumentError, lambda: layers.LSTM(U)(np.ones((2, 3, F)), initial_state=[np.ones((2, U))]), "2 states"),
        (ShapeError, lambda: layers.GRU(U)(np.ones((2, 3, F)), initial_state=np.ones((2, 3))), "initial h"),
        (ShapeError, lambda: layers.GRU(U)(np.ones((2, 3, F)), initial_state=np.ones((1, U))), "2 rows"),
        (NotImplementedError, lambda: Recurrent(U, "tanh", "sigmoid", True, "zeros", "zeros", "zeros").cell(), "cell"),
    ],
)
def test_refusals(error: Any, make: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        make()
