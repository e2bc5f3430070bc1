"""The base of callbacks: what happens around epochs and batches. The history is one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from graphkit.core.errors import ArgumentError, StateError
from graphkit.core.lazy import module

Logs = dict[str, float]
SHOWN = 20


class Callback:
    """Override what you need; `self.model` and `self.params` are set before training begins.

    Set `self.model.stop_training = True` to stop after the batch or epoch at hand.
    """

    model: Any = None
    params: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch, with its means and the validation's."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a training step."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a training step, with the means so far."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before evaluate, and before each validation in fit."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After it, with its figures."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before an evaluation step."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After an evaluation step, with the means so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before predict."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After predict."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a prediction step."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a prediction step, with its outputs: {"outputs": ...}."""


class History(Callback):
    """`history` maps each name to its values, one an epoch; `epoch` lists the epochs. Notebooks show them."""

    def __init__(self) -> None:
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self._rows: list[Logs] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        self._rows.append(dict(logs or {}))
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def plot(self, path: Any = None) -> Any:
        """The curves as a matplotlib Figure, which notebooks show: a panel for each figure, training and validation.

        path: a file to write it to as well, .png, .svg, .pdf or what else matplotlib knows. Epochs are counted from 1.
        Raises StateError before the first epoch is done, and where matplotlib is missing; ArgumentError for a path that
        cannot be written.
        """
        if not self.epoch:
            raise StateError("there is no epoch to plot yet; model.fit gives a History with some")
        module("matplotlib.figure", "graphkit[plot]")
        picture = module("graphkit.train.drawing").Curves(self._curves())
        if path is not None:
            picture.write(path)
        return picture

    def _curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """The epochs, from 1, and the values by name."""
        found: dict[str, tuple[list[int], list[float]]] = {}
        for epoch, row in zip(self.epoch, self._rows, strict=True):
            for name, value in row.items():
                epochs, values = found.setdefault(name, ([], []))
                epochs.append(epoch + 1)
                values.append(value)
        return found

    def __repr__(self) -> str:
        last = "".join(f", {name} {value:.4g}" for name, value in (self._rows or [{}])[-1].items())
        return f"<History: {len(self.epoch)} epochs{last}>"

    def _repr_html_(self) -> str:
        """The last epochs as a table, and the curves; where they cannot be drawn, what is missing."""
        escape = module("html").escape
        head = "".join(f"<th>{escape(name)}</th>" for name in ("epoch", *self.history))
        rows = [(f"{epoch + 1}", row) for epoch, row in zip(self.epoch, self._rows, strict=True)]
        cells = [(epoch, *(f"{row[n]:.4g}" if n in row else "" for n in self.history)) for epoch, row in rows]
        lines = [f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in cells]
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines[-SHOWN:])}</tbody></table>"
        more = f"<p>the last {SHOWN} of {len(lines)} epochs</p>" if len(lines) > SHOWN else ""
        try:
            return f"{self.plot()._repr_svg_()}{more}{table}"
        except StateError as error:
            return f"<p>{escape(str(error))}</p>{more}{table}"


class LambdaCallback(Callback):
    """Functions by the moment: on_epoch_end=lambda epoch, logs: print(epoch). ArgumentError for an unknown moment."""

    def __init__(self, **functions: Callable[..., Any] | None) -> None:
        unknown = [n for n in functions if not n.startswith("on_") or not hasattr(Callback, n)]
        if unknown:
            known = ", ".join(n for n in vars(Callback) if n.startswith("on_"))
            near = get_close_matches(unknown[0], [n for n in vars(Callback) if n.startswith("on_")], 1)
            hint = f"; did you mean callbacks.Callback.{near[0]}?" if near else ""
            raise ArgumentError(f"LambdaCallback knows no moment {unknown[0]!r}; known are {known}{hint}")
        vars(self).update({name: function for name, function in functions.items() if function is not None})


def listed_callbacks(given: Any) -> list[Callback]:
    """The callbacks that a person gave; ArgumentError for one outside a list, a class, or what is none."""
    if given is not None and not isinstance(given, list | tuple):
        raise ArgumentError(f"callbacks must be a list, got a {type(given).__name__}; write callbacks=[...]")
    for callback in given or ():
        if not isinstance(callback, Callback):
            got = f"the class {callback.__name__}" if isinstance(callback, type) else f"a {type(callback).__name__}"
            raise ArgumentError(f"callbacks must hold objects of callbacks.Callback, got {got}")
    return list(given or ())


class CallbackList:
    """Several callbacks as one."""

    def __init__(self, callbacks: Sequence[Callback], model: Any, params: dict[str, Any]) -> None:
        self.callbacks, self.params = list(callbacks), params
        self.watched = {k for k in ("train", "test", "predict") for c in callbacks if _overrides(c, f"on_{k}_batch")}
        for callback in self.callbacks:
            callback.model, callback.params = model, params

    def __call__(self, moment: str, *args: Any) -> None:
        """Calls `moment` on each, in order."""
        for callback in self.callbacks:
            getattr(callback, moment)(*args)


def _overrides(callback: Callback, prefix: str) -> bool:
    names = [f"{prefix}_begin", f"{prefix}_end"]
    return any(getattr(getattr(callback, n), "__func__", None) is not getattr(Callback, n) for n in names)
