"""Two texts and twelve tags in, a priority and a department out: train, export, serve, ask.

    python examples/tickets.py                 # all of it, on real mail
    python examples/tickets.py --epochs 1      # quicker
    python examples/tickets.py --mask-zero     # padding does not count

The model is the lecture's: Embedding 10,000 x 64 for title and body, LSTM 128 and 32, two heads on logits.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import graphkit
from graphkit import layers
from serve import Client

MAIL = Path(__file__).parent / "data" / "mail.npz"
TRAINING_ROWS = 5000
WORDS, TAGS, DEPARTMENTS = 10_000, 12, 4
NAMES = ["easy ham", "hard ham", "spam (first set)", "spam (second set)"]


def load_mail() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and targets by name; the department one-hot."""
    with np.load(MAIL) as mail:
        x = {name: mail[name] for name in ("title", "body", "tags")}
        y = {
            "priority": mail["priority"][:, None].astype("float32"),
            "department": np.eye(DEPARTMENTS, dtype="float32")[mail["department"]],
        }
    return x, y


def rows(table: dict[str, np.ndarray], part: slice) -> dict[str, np.ndarray]:
    return {name: array[part] for name, array in table.items()}


def build(mask_zero: bool = False) -> graphkit.Model:
    """The two-text model; with `mask_zero` word 0 is padding and is skipped."""
    title = graphkit.Input(shape=(None,), name="title")
    body = graphkit.Input(shape=(None,), name="body")
    tags = graphkit.Input(shape=(TAGS,), name="tags")
    title_words = layers.Embedding(WORDS, 64, mask_zero=mask_zero)(title)
    body_words = layers.Embedding(WORDS, 64, mask_zero=mask_zero)(body)
    x = layers.concatenate([layers.LSTM(128)(title_words), layers.LSTM(32)(body_words), tags])
    priority = layers.Dense(1, name="priority")(x)
    department = layers.Dense(DEPARTMENTS, name="department")(x)
    model = graphkit.Model(
        inputs=[title, body, tags], outputs={"priority": priority, "department": department}, name="tickets"
    )
    model.compile(
        optimizer=graphkit.optimizers.RMSprop(1e-3),
        loss={
            "priority": graphkit.losses.BinaryCrossentropy(from_logits=True),
            "department": graphkit.losses.CategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"priority": 1.0, "department": 0.2},
        metrics={"department": "accuracy"},
    )
    return model


def area_under_curve(truth: np.ndarray, score: np.ndarray) -> float:
    """The area under the ROC curve: how often a positive is ranked above a negative, ties counted half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positives = int(truth.sum())
    return float((ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


def quality(model: graphkit.Model) -> tuple[float, float]:
    """On mail it has never seen: area under the ROC curve of priority, accuracy of department."""
    x, y = load_mail()
    unseen = slice(TRAINING_ROWS, None)
    answer = model.predict(rows(x, unseen), batch_size=256)
    area = area_under_curve(y["priority"][unseen, 0], answer["priority"][:, 0])
    right = answer["department"].argmax(1) == y["department"][unseen].argmax(1)
    return area, float(right.mean())


def ask_server(model: graphkit.Model, repository: Path) -> None:
    """Starts the server in a process of its own, asks it about unseen mail, prints the answers, stops it."""
    command = [sys.executable, "-m", "serve", str(repository), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            ready = server.stdout.readline().strip()
            print(f"\n{ready}")
            x, y = load_mail()
            asked = slice(TRAINING_ROWS, TRAINING_ROWS + 8)
            with Client(ready.split()[-1]) as client:
                served = client.infer("tickets", rows(x, asked))
            show(served, model.predict(rows(x, asked)), rows(y, asked))
        finally:
            server.terminate()
            server.wait(30)
    print(f"server stopped with exit status {server.returncode}")


def show(served: dict[str, np.ndarray], predicted: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> None:
    """The served answers beside `predict` and beside the truth."""
    print(f"{'spam: served':>13} {'predict':>9} {'truth':>6}   department: served -> truth")
    for i in range(len(truth["priority"])):
        spam = [1 / (1 + np.exp(-float(a["priority"][i, 0]))) for a in (served, predicted)]
        names = [NAMES[int(a["department"][i].argmax())] for a in (served, truth)]
        print(f"{spam[0]:13.4f} {spam[1]:9.4f} {int(truth['priority'][i, 0]):6d}   {names[0]} -> {names[1]}")
    worst = max(float(np.abs(served[n] - predicted[n]).max()) for n in served)
    print(f"largest difference between served and predict: {worst:.1e}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mask-zero", action="store_true", help="word 0 is padding and does not count")
    options = parser.parse_args(arguments)
    graphkit.utils.set_random_seed(options.seed)
    model = build(mask_zero=options.mask_zero)
    model.summary()
    x, y = load_mail()
    known = slice(0, TRAINING_ROWS)
    print()
    model.fit(rows(x, known), rows(y, known), batch_size=32, epochs=options.epochs)
    area, accuracy = quality(model)
    print(f"unseen mail: priority area under the ROC curve {area:.4f}, department accuracy {accuracy:.4f}\n")
    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder, "tickets", "1")
        version.mkdir(parents=True)
        print(model.export(version / "model.onnx"))
        ask_server(model, Path(folder))


if __name__ == "__main__":
    main()
