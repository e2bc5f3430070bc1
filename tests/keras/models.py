"""The sixteen models of the parity suite, by their names, for k = keras or k = graphkit: the same code for both."""

from __future__ import annotations

from typing import Any

from tests.keras.data import Builder, Drawn, Task


def tickets(k: Any) -> Task:
    """Two texts and tags; a priority and a department."""
    layers, rows = k.layers, 22
    texts = [k.Input((n,), dtype="int32", name=name) for name, n in (("title", 5), ("body", 7))]
    tags = k.Input((3,), name="tags")
    read = [layers.LSTM(n)(layers.Embedding(23, 5)(x)) for n, x in zip((7, 3), texts, strict=True)]
    joined = layers.concatenate([*read, tags])
    ends = {"priority": layers.Dense(1, name="priority"), "department": layers.Dense(5, name="department")}
    model = k.Model([*texts, tags], {name: layer(joined) for name, layer in ends.items()})
    losses = k.losses.BinaryCrossentropy(from_logits=True), k.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(
        k.optimizers.RMSprop(1e-3, epsilon=1e-3),
        loss=dict(zip(ends, losses, strict=True)),
        loss_weights={"priority": 1.0, "department": 0.2},
    )
    d = Drawn(1)
    x = {"title": d.ids(23, rows, 5), "body": d.ids(23, rows, 7), "tags": d.bits(rows, 3)}
    return Task(model, x, {"priority": d.share(rows, 1), "department": d.one_hot(5, rows)}, 11)


def autoencoder(k: Any) -> Task:
    """A third model calls an encoder and a decoder."""
    layers = k.layers
    picture = k.Input((11, 11, 1), name="img")
    x = layers.Conv2D(3, 3, activation="relu")(picture)
    x = layers.MaxPooling2D(2)(layers.Conv2D(5, 3, activation="relu")(x))
    x = layers.Conv2D(5, 3, activation="relu", padding="same")(x)
    encoder = k.Model(picture, layers.GlobalMaxPooling2D()(x), name="encoder")
    code = k.Input((5,), name="code")
    x = layers.Reshape((3, 3, 2))(layers.Dense(18)(code))
    x = layers.Conv2DTranspose(3, 3, activation="relu")(x)
    x = layers.Conv2D(1, 3, activation="sigmoid")(layers.UpSampling2D(2)(x))
    decoder = k.Model(code, layers.ZeroPadding2D(((1, 2), (2, 1)))(x), name="decoder")
    image = k.Input((11, 11, 1), name="image")
    model = k.Model(image, decoder(encoder(image)), name="autoencoder")
    model.compile(k.optimizers.Adam(epsilon=1e-3), "mse")
    images = Drawn(2).share(6, 11, 11, 1)
    return Task(model, images, images, 3)


def resnet_toy(k: Any) -> Task:
    """Convolutions with two ways around."""
    layers = k.layers
    image = k.Input((11, 11, 3), name="img")
    x = layers.Conv2D(5, 3, activation="relu")(image)
    before = layers.MaxPooling2D(2)(layers.Conv2D(7, 3, activation="relu")(x))
    for _ in range(2):
        x = layers.Conv2D(7, 3, activation="relu", padding="same")(before)
        x = layers.Conv2D(7, 3, activation="relu", padding="same")(x)
        before = layers.add([x, before])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(7, 3, activation="relu")(before))
    model = k.Model(image, layers.Dense(5)(layers.Dense(11, activation="relu")(x)), name="toy_resnet")
    loss = k.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(k.optimizers.RMSprop(1e-3, epsilon=1e-3), loss, metrics=["acc"])
    d = Drawn(3)
    return Task(model, d.share(9, 11, 11, 3), d.one_hot(5, 9), 3)


def transformer(k: Any) -> Task:
    """Words with their places, one block of attention, a class."""
    layers = k.layers
    tokens, positions = (k.Input((7,), dtype="int32", name=name) for name in ("tokens", "positions"))
    x = layers.Embedding(19, 6, name="token_embedding")(tokens)
    x = layers.Add()([x, layers.Embedding(7, 6, name="position_embedding")(positions)])
    attended = layers.MultiHeadAttention(num_heads=2, key_dim=3, name="attention")(x, x)
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, attended]))
    forward = layers.Dense(6)(layers.Dense(13, activation="gelu")(x))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, forward]))
    end = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    model = k.Model([tokens, positions], end)
    sgd = k.optimizers.SGD(0.05, momentum=0.9)
    model.compile(sgd, "sparse_categorical_crossentropy", metrics=["accuracy"])
    d = Drawn(4)
    return Task(model, [d.ids(19, 10, 7), d.ids(7, 10, 7)], d.ids(3, 10), 5)


def seq2seq(k: Any) -> Task:
    """Attention to what came before, and to a source."""
    layers = k.layers
    source, target = k.Input((5, 3), name="source"), k.Input((7,), dtype="int32", name="target")
    known = layers.LayerNormalization()(layers.Dense(6, activation="tanh")(source))
    x = layers.Embedding(11, 6)(target)
    own = layers.MultiHeadAttention(2, 3, name="self_attention")(x, x, use_causal_mask=True)
    x = layers.LayerNormalization()(layers.add([x, own]))
    across = layers.MultiHeadAttention(2, 3, value_dim=2, name="cross_attention")(x, known)
    x = layers.LayerNormalization()(layers.add([x, across]))
    model = k.Model([source, target], layers.TimeDistributed(layers.Dense(11))(x), name="seq2seq")
    sgd = k.optimizers.SGD(0.05, momentum=0.8, nesterov=True)
    loss, metric = k.losses.SparseCategoricalCrossentropy(from_logits=True), k.metrics.SparseCategoricalAccuracy()
    model.compile(sgd, loss, metrics=[metric])
    d = Drawn(5)
    return Task(model, [d.normal(10, 5, 3), d.ids(11, 10, 7)], d.ids(11, 10, 7), 5)


def siamese(k: Any) -> Task:
    """The same three layers on two inputs."""
    layers = k.layers
    pair = [k.Input((5,), dtype="int32", name=name) for name in "ab"]
    embed, read, dense = layers.Embedding(13, 5), layers.LSTM(7), layers.Dense(3, activation="tanh")
    left, right = (dense(read(embed(x))) for x in pair)
    apart = layers.Subtract()([left, right])
    near = layers.Dot(axes=1, normalize=True)([left, right])
    joined = layers.Concatenate()([layers.Multiply()([apart, apart]), near])
    model = k.Model(pair, layers.Dense(1, activation="sigmoid")(joined))
    model.compile(k.optimizers.Adam(0.01, epsilon=1e-3), "binary_crossentropy", metrics=["accuracy"])
    d = Drawn(6)
    return Task(model, {"a": d.ids(13, 14, 5), "b": d.ids(13, 14, 5)}, d.bits(14, 1), 7)


def cnn_batchnorm(k: Any) -> Task:
    """Statistics of batches, and a convolution in two parts."""
    layers = k.layers
    stack = [
        k.Input((11, 11, 2)),
        layers.Conv2D(5, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.SeparableConv2D(7, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9, scale=False),
        layers.LeakyReLU(),
        layers.AveragePooling2D(2, padding="same"),
        layers.Flatten(),
        layers.Dense(3),
    ]
    model = k.Sequential(stack, name="cnn")
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = ["accuracy", k.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")]
    model.compile(k.optimizers.SGD(0.02, momentum=0.9), loss, metrics=metrics)
    d = Drawn(7)
    return Task(model, d.normal(10, 11, 11, 2), d.ids(3, 10), 5)


def gru_masking(k: Any) -> Task:
    """Padded series through recurrences of both directions."""
    layers, rows = k.layers, 14
    series = k.Input((7, 3), name="series")
    x = layers.Masking()(series)
    x = layers.Bidirectional(layers.GRU(5, return_sequences=True))(x)
    x = layers.Bidirectional(layers.GRU(2), merge_mode="sum")(x)
    model = k.Model(series, layers.Dense(2, name="out")(layers.Dense(5, activation="swish")(x)))
    model.compile(k.optimizers.RMSprop(0.002, momentum=0.5, epsilon=1e-3), "huber", metrics=["mae", "mse"])
    d = Drawn(8)
    x = d.normal(rows, 7, 3)
    for row in range(rows):
        x[row, 1 + row % 7 :] = 0
    x[4, 2] = 0
    return Task(model, x, d.normal(rows, 2), 7)


def multitask_weights(k: Any) -> Task:
    """Three outputs, each with weights for its rows."""
    layers, rows = k.layers, 14
    features = k.Input((5,), name="features")
    x = layers.Dropout(0.0)(layers.Dense(7, activation="elu")(features))
    price, kind = layers.Dense(1, name="price")(x), layers.Dense(3, activation="softmax", name="kind")(x)
    flags = layers.Dense(2, activation="sigmoid", name="flags")(layers.Concatenate()([x, kind]))
    model = k.Model(features, [price, kind, flags])
    model.compile(
        k.optimizers.Adam(0.01, epsilon=1e-4),
        loss=["mse", "sparse_categorical_crossentropy", "binary_crossentropy"],
        loss_weights=[0.5, 1.0, 2.0],
        metrics=[["mae"], ["accuracy"], None],
        weighted_metrics=[None, ["accuracy"], ["binary_accuracy"]],
    )
    d = Drawn(9)
    y = [d.normal(rows, 1), d.ids(3, rows), d.bits(rows, 2)]
    weights = [d.share(rows) * 2, d.share(rows) * 2, d.bits(rows)]
    return Task(model, d.normal(rows, 5), y, 7, {"sample_weight": weights})


def class_weights(k: Any) -> Task:
    """A stack built from a shape, with a weight for each class."""
    layers = k.layers
    model = k.Sequential([layers.Dense(7, activation="relu"), layers.Dense(3, activation="softmax")])
    nadam = k.optimizers.Nadam(0.01, epsilon=1e-3)
    loss = "sparse_categorical_crossentropy"
    model.compile(nadam, loss, metrics=["accuracy"], weighted_metrics=["accuracy"])
    model.build((None, 5))
    d = Drawn(10)
    return Task(model, d.normal(22, 5), d.ids(3, 22), 11, {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}})


def one_hot_class_weights(k: Any) -> Task:
    layers = k.layers
    first = layers.Dense(7, activation="selu", kernel_initializer="lecun_normal")
    model = k.Sequential([k.Input((5,)), first, layers.Dense(3)])
    loss = k.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(k.optimizers.Adagrad(0.1), loss, metrics=["categorical_accuracy"])
    d = Drawn(11)
    return Task(model, d.normal(22, 5), d.one_hot(3, 22), 11, {"class_weight": {0: 2.0, 1: 1.0, 2: 0.25}})


def own_classes(k: Any) -> dict[str, Any]:
    """A layer and a model of a person's own, written for either module."""

    class Gate(k.layers.Layer):
        """x sigmoid(slope (x w + b)) scale"""

        def __init__(self, slope: float = 1.0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.slope = slope

        def build(self, input_shape: Any) -> None:
            n = input_shape[-1]
            self.scale = self.add_weight(shape=(n,), initializer="ones", trainable=False, name="scale")
            self.w = self.add_weight(shape=(n, n), initializer="glorot_uniform", name="w")
            self.b = self.add_weight(shape=(n,), initializer="zeros", name="b")

        def call(self, inputs: Any) -> Any:
            return inputs * k.ops.sigmoid(self.slope * (k.ops.matmul(inputs, self.w) + self.b)) * self.scale

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "slope": self.slope}

    class Classifier(k.Model):
        """Steps that add to their input."""

        def __init__(self, units: int, classes: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units, self.classes = units, classes
            self.hidden = k.layers.Dense(units, activation="relu")
            self.blocks = [k.layers.Dense(units, activation="tanh") for _ in range(2)]
            self.ends = {"norm": k.layers.LayerNormalization(), "head": k.layers.Dense(classes)}

        def call(self, inputs: Any, training: bool = False) -> Any:
            x = self.hidden(inputs)
            for block in self.blocks:
                x = x + block(x)
            return self.ends["head"](self.ends["norm"](x))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units, "classes": self.classes}

    return {"Gate": Gate, "Classifier": Classifier}


def subclassed_model(k: Any) -> Task:
    own = own_classes(k)
    model = own["Classifier"](7, 3, name="classifier")
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(k.optimizers.SGD(0.1, momentum=0.5), loss, metrics=["accuracy"])
    d = Drawn(12)
    return Task(model, d.normal(14, 5), d.ids(3, 14), 7, own=own)


def custom_layer(k: Any) -> Task:
    own, layers = own_classes(k), k.layers
    begin = k.Input((5,))
    x = own["Gate"](slope=2.0, name="gate")(layers.Dense(7, activation="softplus")(begin))
    model = k.Model(begin, layers.Dense(2)(own["Gate"](name="gate_again")(x)))
    adamw = k.optimizers.AdamW(0.01, weight_decay=0.05, epsilon=1e-3)
    model.compile(adamw, k.losses.LogCosh(), metrics=["mse"])
    d = Drawn(13)
    return Task(model, d.normal(14, 5), d.normal(14, 2), 7, own=own)


def nested_twice(k: Any) -> Task:
    """A model called twice, and three models averaged."""
    layers = k.layers
    begin = k.Input((5,))
    inner = k.Model(begin, layers.Dense(3, activation="tanh")(layers.Dense(7, activation="relu")(begin)), name="inner")
    pair = [k.Input((5,), name=name) for name in ("left", "right")]
    both = layers.concatenate([inner(x) for x in pair])
    members = []
    for name in ("one", "two", "three"):
        start = k.Input((6,))
        members.append(k.Model(start, layers.Dense(1)(start), name=name)(both))
    model = k.Model(pair, layers.average(members), name="outer")
    metrics = [k.metrics.RootMeanSquaredError(), k.metrics.R2Score()]
    model.compile(k.optimizers.Adamax(0.01, epsilon=1e-4), "mean_squared_error", metrics=metrics)
    d = Drawn(14)
    return Task(model, [d.normal(14, 5), d.normal(14, 5)], d.normal(14, 1), 7)


def regularised(k: Any) -> Task:
    """Penalties, constraints, a frozen layer."""
    layers, penalties = k.layers, k.regularizers
    begin = k.Input((5,))
    x = layers.Dense(7, activation="relu", kernel_regularizer=penalties.L2(0.01), bias_regularizer="l1")(begin)
    x = layers.Dense(7, trainable=False, name="frozen")(x)
    x = layers.Dense(
        3,
        activation="tanh",
        kernel_regularizer=penalties.L1L2(0.01, 0.02),
        activity_regularizer=penalties.L2(0.01),
        kernel_constraint=k.constraints.MaxNorm(1.0),
    )(x)
    model = k.Model(begin, layers.Dense(2, kernel_constraint="non_neg")(x))
    model.compile(k.optimizers.SGD(0.05, momentum=0.3), "mse", metrics=["mae"])
    d = Drawn(15)
    return Task(model, d.normal(14, 5), d.normal(14, 2), 7)


def schedule_clip(k: Any) -> Task:
    """A rate that falls, and gradients of bounded length."""
    layers = k.layers
    stack = [
        k.Input((7, 3)),
        layers.Conv1D(5, 3, padding="causal", activation="relu"),
        layers.Conv1D(5, 3, dilation_rate=2, padding="same", activation="relu"),
        layers.MaxPooling1D(2),
        layers.SimpleRNN(5),
        layers.Dense(1, activation="sigmoid"),
    ]
    model = k.Sequential(stack)
    rate = k.optimizers.schedules.ExponentialDecay(0.2, decay_steps=5, decay_rate=0.7)
    sgd = k.optimizers.SGD(rate, momentum=0.9, global_clipnorm=0.5)
    metrics = [k.metrics.AUC(num_thresholds=20), k.metrics.Precision(), k.metrics.Recall()]
    model.compile(sgd, k.losses.BinaryFocalCrossentropy(), metrics=metrics)
    d = Drawn(16)
    return Task(model, d.normal(14, 7, 3), d.bits(14, 1), 7)


PARITY: dict[str, Builder] = {
    f.__name__: f
    for f in (
        tickets, autoencoder, resnet_toy, transformer, seq2seq, siamese, cnn_batchnorm, gru_masking, multitask_weights,
        class_weights, one_hot_class_weights, subclassed_model, custom_layer, nested_twice, regularised, schedule_clip,
    )
}  # fmt: skip
