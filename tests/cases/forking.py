"""Case 91, run as a program: a parent that has called makes children, by fork and by spawn, that call for themselves.

`python forking.py HOST:PORT` prints what each child got and how long it took, as JSON, and then trains.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from typing import Any

import numpy as np

import serve
from graphkit import Sequential, layers

SECONDS = 60.0


def sums(client: serve.Client, number: int) -> Any:
    """What the model makes of a number of one's own."""
    return client.infer("f1", {"a": [[number, 2, 3]], "b": [[1, 1]]})["s"].tolist()


def ask(client: serve.Client | str, number: int, answers: Any) -> None:
    """Call with the client that was there before a fork, or with one of one's own."""
    if isinstance(client, serve.Client):
        answers.put(sums(client, number))
        return
    with serve.Client(client, timeout=SECONDS) as own:
        answers.put(sums(own, number))


def child(kind: str, client: serve.Client | str, number: int) -> dict[str, Any]:
    """What a child got and its exit status; one that does not end is ended, and told as such."""
    context = multiprocessing.get_context(kind)
    answers = context.SimpleQueue()
    process = context.Process(target=ask, args=(client, number, answers))
    begun = time.monotonic()
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    got = None if answers.empty() else answers.get()
    return {"got": got, "status": process.exitcode, "seconds": time.monotonic() - begun}


def main(address: str) -> None:
    """A client that stays open, children of both kinds, the same client again, and some training."""
    with serve.Client(address, timeout=SECONDS) as client:
        got = {
            "before": sums(client, 5),
            "children": [child(kind, address, number) for number in (7, 11) for kind in ("fork", "spawn")],
            "inherited": child("fork", client, 13),
            "after": sums(client, 5),
        }
    model = Sequential([layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizer="sgd", loss="mse")
    x = np.arange(13, dtype=np.float32)[:, None] / 13
    losses = model.fit(x, 3 * x, epochs=5, batch_size=13, verbose=0).history["loss"]
    print(json.dumps({**got, "losses": losses}))


if __name__ == "__main__":
    main(*sys.argv[1:])
