"""Numbers into English words: trained in one graph, translated word by word by a server that keeps no state.

python examples/translate.py

The file has two signatures beside its own. `encode` reads the digits and gives the states of an LSTM; `step` takes a
word and these states and gives the next word's scores and the states behind it. Both are cut from the training graph
by layer names, so there is no second model to keep in step.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import graphkit
from graphkit import layers
from serve import Client

ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = ["", "<start>", "<end>", *ONES, *TENS, "hundred"]
LONGEST, UNITS = 6, 64
SIGNATURES = {
    "encode": ("digits", {"h": "reader[1]", "c": "reader[2]"}),
    "step": (
        {"word": "said", "h": "reader[1]", "c": "reader[2]"},
        {"scores": "next_word", "next_h": "writer[1]", "next_c": "writer[2]"},
    ),
}


def spoken(number: int) -> list[str]:
    """342 as three hundred forty two."""
    if number < 20:
        return [ONES[number]]
    if number < 100:
        return [TENS[number // 10 - 2], *([ONES[number % 10]] if number % 10 else [])]
    return [ONES[number // 100], "hundred", *(spoken(number % 100) if number % 100 else [])]


def digits_of(numbers: np.ndarray) -> np.ndarray:
    """(n, 3) ids: 1 to 10 for the digits, 0 behind them."""
    return np.array([[int(d) + 1 for d in str(n)] + [0] * (3 - len(str(n))) for n in numbers])


def rows(numbers: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The digits with what has been said before each word, and the words."""
    said = np.zeros((len(numbers), LONGEST), np.int64)
    for row, number in zip(said, numbers, strict=True):
        words = [WORDS.index(w) for w in [*spoken(number), "<end>"]]
        row[: len(words)] = words
    before = np.concatenate([np.full((len(numbers), 1), WORDS.index("<start>")), said[:, :-1]], axis=1)
    return {"digits": digits_of(numbers), "said": np.where(said > 0, before, 0)}, said


def build() -> graphkit.Model:
    """Digits and what has been said to the scores of each next word; both lengths are free."""
    digits, said = (graphkit.Input((None,), name=n) for n in ("digits", "said"))
    x = layers.Embedding(11, UNITS, mask_zero=True, name="digit_vectors")(digits)
    _, h, c = layers.LSTM(UNITS, return_state=True, name="reader")(x)
    y = layers.Embedding(len(WORDS), UNITS, mask_zero=True, name="word_vectors")(said)
    writer = layers.LSTM(UNITS, return_sequences=True, return_state=True, name="writer")
    y, _, _ = writer(y, initial_state=[h, c])
    model = graphkit.Model([digits, said], layers.Dense(len(WORDS), name="next_word")(y), name="translator")
    model.compile(
        graphkit.optimizers.Adam(4e-3), graphkit.losses.SparseCategoricalCrossentropy(from_logits=True),
    )  # fmt: skip
    return model


def by_training_graph(model: graphkit.Model, numbers: np.ndarray) -> np.ndarray:
    """The likeliest word each time, all that was said given again; (n, LONGEST) ids."""
    said = np.full((len(numbers), 1), WORDS.index("<start>"))
    for _ in range(LONGEST):
        scores = model.predict({"digits": digits_of(numbers), "said": said}, batch_size=len(numbers))
        said = np.concatenate([said, scores[:, -1:].argmax(-1)], axis=1)
    return said[:, 1:]


def by_server(client: Client, numbers: np.ndarray) -> np.ndarray:
    """The same in steps: the states go to the client and back."""
    states = client.infer("translator:encode", {"digits": digits_of(numbers)})
    word, said = np.full((len(numbers), 1), WORDS.index("<start>")), []
    for _ in range(LONGEST):
        found = client.infer("translator:step", {"word": word, "h": states["h"], "c": states["c"]})
        word, states = found["scores"].argmax(-1), {"h": found["next_h"], "c": found["next_c"]}
        said.append(word)
    return np.concatenate(said, axis=1)


def told(said: np.ndarray) -> str:
    """The words up to the end."""
    words = [WORDS[i] for i in said]
    return " ".join(words[: words.index("<end>")] if "<end>" in words else words)


def served(repository: Path, numbers: np.ndarray) -> np.ndarray:
    """Starts the server in a process of its own, lets it translate, stops it."""
    command = [sys.executable, "-m", "serve", str(repository), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            with Client(server.stdout.readline().split()[-1]) as client:
                return by_server(client, numbers)
        finally:
            server.terminate()


def main(epochs: int = 20) -> tuple[float, bool]:
    """Trains on 800 of the numbers below 1000; gives the share of the others that the server says rightly.

    And whether it says of all of them what the training graph says.
    """
    graphkit.utils.set_random_seed(0)
    numbers = np.random.default_rng(0).permutation(1000)
    model = build()
    model.fit(*rows(numbers[:800]), batch_size=32, epochs=epochs, verbose=2)
    asked = numbers[800:]
    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder, "translator", "1")
        version.mkdir(parents=True)
        for name, report in model.export(version / "model.onnx", signatures=SIGNATURES).items():
            print(f"{name}: {report}")
        said = served(Path(folder), asked)
    right = [told(row) == " ".join(spoken(number)) for row, number in zip(said, asked, strict=True)]
    for number, row in zip(asked[:4], said, strict=False):
        print(f"{number}: {told(row)}")
    same = bool((said == by_training_graph(model, asked)).all())
    print(f"{np.mean(right):.1%} of numbers never seen are right; as the training graph says them: {same}")
    return float(np.mean(right)), same


if __name__ == "__main__":
    main()
