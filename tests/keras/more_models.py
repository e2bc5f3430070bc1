"""Further models, for k = keras or k = graphkit: text, vision, recurrence, attention, tables, sharing, nesting, ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.keras.data import Builder, Drawn, Task


def masked_lstm(k: Any) -> Task:
    """Padded words, of which the LSTM sees no padding."""
    layers = k.layers
    words = k.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(17, 5, mask_zero=True)(words)
    x = layers.LSTM(3)(layers.LSTM(7, return_sequences=True)(x))
    model = k.Model(words, layers.Dense(2, name="sense")(x), name="masked_lstm")
    model.compile(k.optimizers.Adam(0.01, epsilon=1e-3, amsgrad=True), "mse")
    d = Drawn(31)
    return Task(model, d.padded(17, 14, 5), d.normal(14, 2), 7)


def two_input_lstm(k: Any) -> Task:
    """One series is read from the last states of another."""
    layers = k.layers
    past, present = k.Input((5, 3), name="past"), k.Input((7, 2), name="present")
    _, h, c = layers.LSTM(5, return_state=True, name="reader")(past)
    x = layers.LSTM(5, return_sequences=True, name="writer")(present, initial_state=[h, c])
    model = k.Model([past, present], layers.TimeDistributed(layers.Dense(1), name="next")(x))
    model.compile(k.optimizers.RMSprop(0.01, centered=True, momentum=0.3, epsilon=1e-3), "mae", metrics=["mse"])
    d = Drawn(32)
    return Task(model, {"past": d.normal(10, 5, 3), "present": d.normal(10, 7, 2)}, d.normal(10, 7, 1), 5)


def text_cnn(k: Any) -> Task:
    """Windows of several widths over words; the weights follow their average."""
    layers = k.layers
    words = k.Input((11,), name="words")
    x = layers.SpatialDropout1D(0.0)(layers.Embedding(19, 5)(words))
    seen = [layers.GlobalMaxPooling1D()(layers.Conv1D(3, n, activation="relu")(x)) for n in (2, 3, 5)]
    model = k.Model(words, layers.Dense(2, activation="softmax")(layers.Concatenate(name="seen")(seen)))
    average = k.optimizers.SGD(0.1, momentum=0.5, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=4)
    loss = k.losses.SparseCategoricalCrossentropy()
    model.compile(average, loss, metrics=[k.metrics.SparseCategoricalCrossentropy()])
    d = Drawn(33)
    return Task(model, d.ids(19, 14, 11), d.ids(2, 14), 7)


def stacked_cells(k: Any) -> Task:
    """Cells of two kinds as one recurrence, then one step back in time."""
    layers = k.layers
    series = k.Input((5, 3), name="series")
    x = layers.RNN([layers.GRUCell(5), layers.LSTMCell(2)], return_sequences=True, name="cells")(series)
    x = layers.GRU(3, reset_after=False, go_backwards=True, recurrent_activation="hard_sigmoid")(x)
    model = k.Model(series, layers.Dense(2)(x))
    model.compile(k.optimizers.Adadelta(1.0, epsilon=1e-2), k.losses.Huber(), metrics=[k.metrics.MeanAbsoluteError()])
    d = Drawn(34)
    return Task(model, d.normal(14, 5, 3), d.normal(14, 2), 7)


def films(k: Any) -> Task:
    """Images in time."""
    layers = k.layers
    film = k.Input((3, 7, 5, 2), name="film")
    x = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(film)
    x = layers.TimeDistributed(layers.Conv2D(2, 3, activation="elu"))(x)
    model = k.Model(film, layers.Conv3D(1, (3, 2, 2))(x), name="films")
    model.compile(k.optimizers.Adafactor(0.05, epsilon_1=1e-4), "mse")
    d = Drawn(35)
    return Task(model, d.normal(6, 3, 7, 5, 2), d.normal(6, 1, 4, 2, 1), 3)


def operators(k: Any) -> Task:
    """Calls of ops between layers: slices, arithmetic, products, a stack."""
    layers, ops = k.layers, k.ops
    table = k.Input((7, 5), name="table")
    x = layers.Dense(5, activation="tanh")(table)
    first, rest = x[:, 0], x[:, 1:, ...]
    mean = ops.mean(rest, axis=1)
    share = ops.softmax(ops.sum(rest * ops.expand_dims(first, 1), axis=-1, keepdims=True), axis=1)
    read = ops.squeeze(ops.matmul(ops.transpose(share, (0, 2, 1)), rest), axis=1)
    joined = ops.concatenate([2.0 * first - mean, ops.maximum(read, 0.1), -read / 3.0], axis=-1)
    end = layers.Dense(3)(ops.reshape(joined, (-1, 15))) + 1.0
    model = k.Model(table, [ops.square(end), ops.where(end > 1.0, end, 1.0)])
    ftrl = k.optimizers.Ftrl(0.05, initial_accumulator_value=0.2)
    model.compile(ftrl, ["mse", "mae"])
    d = Drawn(36)
    return Task(model, d.normal(14, 7, 5), [d.share(14, 3), d.share(14, 3)], 7)


def nested_masks(k: Any) -> Task:
    """A model inside a model inside a third; the mask begins in the inmost."""
    layers = k.layers
    ids = k.Input((7,), dtype="int32", name="ids")
    start = k.initializers.RandomNormal(stddev=0.7)
    words = k.Model(ids, layers.Embedding(13, 5, start, mask_zero=True)(ids), name="words")
    again = k.Input((7,), dtype="int32", name="again")
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="ave", name="both")(words(again))
    reader = k.Model(again, x, name="reader")
    pair = [k.Input((7,), dtype="int32", name=name) for name in ("question", "answer")]
    pooled = [layers.GlobalAveragePooling1D()(reader(x)) for x in pair]
    model = k.Model(pair, layers.Dot(axes=1)(pooled), name="nested_masks")
    lamb = k.optimizers.Lamb(0.01, epsilon=1e-3)
    model.compile(lamb, k.losses.BinaryCrossentropy(from_logits=True))
    d = Drawn(37)
    return Task(model, [d.padded(13, 14, 7), d.padded(13, 14, 7)], d.bits(14, 1), 7)


def dict_ends(k: Any) -> Task:
    """Inputs and outputs by name, inside and outside; gradients are gathered over two steps."""
    layers = k.layers
    inner_ends = {name: k.Input((n,), name=name) for name, n in (("wide", 7), ("deep", 5))}
    x = layers.Dense(5, activation="relu")(inner_ends["deep"])
    outs = {"z": layers.Dense(2)(x), "a": layers.Concatenate()([x, inner_ends["wide"]])}
    inner = k.Model(inner_ends, outs, name="inner")
    ends = {name: k.Input((n,), name=name) for name, n in (("wide", 7), ("deep", 5))}
    found = inner(ends)
    score = layers.Dense(1, name="score")(found["a"])
    model = k.Model(ends, {"score": score, "class": layers.Softmax(name="class")(found["z"])})
    sgd = k.optimizers.SGD(0.1, momentum=0.6, gradient_accumulation_steps=2, clipnorm=1.0, weight_decay=0.01)
    model.compile(
        sgd,
        loss={"score": "mse", "class": "sparse_categorical_crossentropy"},
        metrics={"class": ["accuracy"], "score": [k.metrics.MeanAbsoluteError(name="off")]},
    )
    d = Drawn(38)
    x = {"wide": d.normal(14, 7), "deep": d.normal(14, 5)}
    return Task(model, x, {"score": d.normal(14, 1), "class": d.ids(2, 14)}, 7)


def small_vision(k: Any) -> Task:
    """What small networks for images are made of."""
    layers = k.layers
    image = k.Input((11, 7, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = layers.Conv2D(5, 3, strides=2, padding="same")(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.GroupNormalization(5)(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.ReLU(max_value=6.0)(layers.LayerNormalization(axis=[1, 2, 3])(x))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Multiply()([x, layers.Conv2D(10, 1, activation="hard_sigmoid")(gate)])
    x = layers.Cropping2D(((1, 0), (0, 1)))(x)
    model = k.Model(image, layers.Dense(3)(layers.Flatten()(x)), name="small_vision")
    rate = k.optimizers.schedules.CosineDecay(0.02, 17, warmup_target=0.05, warmup_steps=5)
    model.compile(k.optimizers.LossScaleOptimizer(k.optimizers.Adam(rate, epsilon=1e-3)), "mse")
    d = Drawn(39)
    return Task(model, d.ids(256, 6, 11, 7, 3).astype("uint8"), d.normal(6, 3), 3)


def tabular(k: Any) -> Task:
    """Columns brought to one scale, categories as ones and zeros."""
    layers, d = k.layers, Drawn(40)
    numbers, kind = k.Input((5,), name="numbers"), k.Input((1,), dtype="int32", name="kind")
    scale = layers.Normalization(name="scale")
    values = d.normal(14, 5) * np.float32([1, 2, 3, 5, 7]) + 3
    scale.adapt(values)
    wide = layers.CategoryEncoding(num_tokens=3, output_mode="one_hot")(kind)
    x = layers.Concatenate()([scale(numbers), wide])
    x = layers.BatchNormalization(momentum=0.8)(layers.Dense(7, activation="silu")(x))
    model = k.Model([numbers, kind], layers.Dense(1, activation="sigmoid", name="bought")(x))
    free = k.optimizers.ScheduleFreeAdamW(0.01, epsilon=1e-3, warmup_steps=3)
    model.compile(free, "binary_crossentropy", metrics=["binary_accuracy"])
    return Task(model, {"numbers": values, "kind": d.ids(3, 14, 1)}, d.bits(14, 1), 7)


def grouped_attention(k: Any) -> Task:
    """Heads that share keys, a product by letters, and attention that adds."""
    layers = k.layers
    x = series = k.Input((5, 6), name="series")
    x = layers.GroupQueryAttention(3, 2, 1, use_bias=False, name="grouped")(x, x)
    x = layers.Add()([layers.RMSNormalization()(x), series])
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 7), bias_axes="d", activation="relu")(x)
    x = layers.AdditiveAttention()([x, x])
    x = layers.GlobalAveragePooling1D()(x)
    model = k.Model(series, layers.Dense(2)(x), name="grouped_attention")
    model.compile(k.optimizers.Muon(0.01, epsilon=1e-3), k.losses.CosineSimilarity())
    d = Drawn(41)
    return Task(model, d.normal(14, 5, 6), d.normal(14, 2), 7)


def spectral(k: Any) -> Task:
    """A kernel of bounded length, in a stack inside a stack that is used twice."""
    layers = k.layers
    tower = [k.Input((7, 2)), layers.SpectralNormalization(layers.Conv1D(3, 3, activation="tanh")), layers.Flatten()]
    tower = k.Sequential(tower, name="tower")
    pair = [k.Input((7, 2), name=name) for name in ("left", "right")]
    near = layers.Average()([tower(layers.Permute((2, 1))(layers.Reshape((2, 7))(x))) for x in pair])
    head = k.Sequential(
        [layers.Dense(5, activation="mish"), layers.UnitNormalization(), layers.Dense(1, activation="softplus")],
        name="head",
    )
    model = k.Model(pair, head(near), name="spectral")
    model.compile(k.optimizers.Adam(0.01, epsilon=1e-3, clipvalue=0.3), k.losses.Poisson())
    d = Drawn(42)
    return Task(model, [d.normal(14, 7, 2), d.normal(14, 7, 2)], d.share(14, 1), 7)


def frozen_base(k: Any) -> Task:
    """A model that is frozen, and what is trained upon it."""
    layers = k.layers
    begin = k.Input((5,), name="begin")
    x = layers.BatchNormalization()(layers.Dense(7, activation="relu")(begin))
    base = k.Model(begin, x, name="base")
    base.trainable = False
    features = k.Input((5,), name="features")
    model = k.Model(features, layers.Dense(3, name="new")(base(features, training=False)), name="frozen_base")
    model.compile(k.optimizers.SGD(0.1, momentum=0.5), "mse")
    d = Drawn(43)
    return Task(model, d.normal(14, 5), d.normal(14, 3), 7)


def shared_between(k: Any) -> Task:
    """Two models inside a third hold the same layer."""
    layers, ops = k.layers, k.ops
    shared = layers.Dense(3, activation="tanh", name="shared")

    def side(name: str) -> Any:
        begin = k.Input((5, 7))
        return k.Model(begin, shared(begin), name=name)

    pair = [k.Input((5, 7), name=name) for name in ("left", "right")]
    left, right = (side(f"{x.name}_side")(x) for x in pair)
    alike = ops.einsum("abc,adc->abd", left, right)
    model = k.Model(pair, layers.Dense(2, name="end")(ops.stack([alike[:, 0], alike[:, -1]], axis=1)))
    model.compile(k.optimizers.Adam(0.01, epsilon=1e-3), "mse")
    d = Drawn(44)
    return Task(model, [d.normal(14, 5, 7), d.normal(14, 5, 7)], d.normal(14, 2, 2), 7)


MORE: dict[str, Builder] = {
    f.__name__: f
    for f in (
        masked_lstm, two_input_lstm, text_cnn, stacked_cells, films, operators, nested_masks, dict_ends, small_vision,
        tabular, grouped_attention, spectral, frozen_base, shared_between,
    )
}  # fmt: skip
