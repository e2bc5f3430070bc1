"""An encoder and a decoder block of a transformer, with their skip and cross connections, learning to reverse.

python examples/transformer.py
"""

from __future__ import annotations

import numpy as np

import graphkit
from graphkit import layers, ops

WORDS, WIDTH, HEADS, LENGTH, START = 17, 32, 4, 7, 0


class Positions(layers.Layer):
    """Adds a learned vector for each place to a learned vector for each word.    (b, t) -> (b, t, width)"""

    def __init__(self, words: int, width: int, longest: int, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type] # name and dtype
        self.word = layers.Embedding(words, width)
        self.place = layers.Embedding(longest, width)

    def call(self, tokens: object) -> object:
        return self.word(tokens) + self.place(ops.arange(ops.shape(tokens)[1]))


def add_and_norm(x: object, more: object) -> object:
    """A skip connection: the block's input goes around it."""
    return layers.LayerNormalization()(layers.add([x, more]))


def feed_forward(x: object) -> object:
    return add_and_norm(x, layers.Dense(WIDTH)(layers.Dense(4 * WIDTH, activation="relu")(x)))


def attention() -> layers.MultiHeadAttention:
    return layers.MultiHeadAttention(HEADS, WIDTH // HEADS)


def build() -> graphkit.Model:
    """Source and target words to the next target word; both lengths are free."""
    source = graphkit.Input(shape=(None,), name="source")
    target = graphkit.Input(shape=(None,), name="target")
    x = Positions(WORDS, WIDTH, 64, name="source_positions")(source)
    memory = feed_forward(add_and_norm(x, attention()(x, x)))
    y = Positions(WORDS, WIDTH, 64, name="target_positions")(target)
    y = add_and_norm(y, attention()(y, y, use_causal_mask=True))  # a word sees only those before it
    y = add_and_norm(y, attention()(y, memory))  # and all of the source
    logits = layers.Dense(WORDS, name="next_word")(feed_forward(y))
    model = graphkit.Model([source, target], logits)
    model.compile(
        optimizer=graphkit.optimizers.Adam(3e-3),
        loss=graphkit.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["sparse_categorical_accuracy"],
    )
    return model


def sentences(rows: int, length: int = LENGTH, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random words, and the same words backwards as what is to be said."""
    source = np.random.default_rng(seed).integers(1, WORDS, (rows, length))
    said = source[:, ::-1]
    begun = np.concatenate([np.full((rows, 1), START), said[:, :-1]], axis=1)
    return {"source": source, "target": begun}, said


def main(rows: int = 2000, epochs: int = 12) -> float:
    """Trains, then lets the model speak word by word; gives the share of right words."""
    graphkit.utils.set_random_seed(0)
    model = build()
    x, y = sentences(rows)
    model.fit(x, y, batch_size=50, epochs=epochs, verbose=2)
    asked, right = sentences(100, seed=1)
    said = np.full((100, 1), START)
    for _ in range(LENGTH):
        logits = model.predict({"source": asked["source"], "target": said}, batch_size=100)
        said = np.concatenate([said, logits[:, -1:].argmax(-1)], axis=1)
    share = float((said[:, 1:] == right).mean())
    print(f"of the words it says, {share:.1%} are right; for example {asked['source'][0]} -> {said[0, 1:]}")
    return share


if __name__ == "__main__":
    main()
