"""from_keras: a model of Keras 3, live or in a file, as a graphkit model that goes on training where it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphkit.core.context import Allowance, changed
from graphkit.core.errors import ArgumentError, GraphkitError, SavingError
from graphkit.core.lazy import module
from graphkit.core.progress import working
from graphkit.interop.keras_config import KerasReader
from graphkit.interop.keras_file import Weights, read_keras, read_weights
from graphkit.interop.keras_weights import set_optimizer, set_weights
from graphkit.models.saving import SPARE
from graphkit.models.weights import WeightsReport

DAMAGE = (LookupError, TypeError, ValueError, AttributeError, RecursionError, ArithmeticError, MemoryError)
COMPILED = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly", "steps_per_execution")


def from_keras(model: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True) -> Any:
    """A Keras 3 model as a graphkit model: the same layers, names and weights; with `compile` compiled as it was.

    model: a live model, or the path of a `.keras` file, for which Keras need not be installed (h5py must: pip install
    'graphkit[keras]'). A compiled model brings its optimizer with slots, step count and rate or schedule, its losses,
    weights of losses and metrics. custom_objects: graphkit's own versions of your classes and functions by name, beside
    those that `register_serializable` made known. Raises SavingError, which names every layer that cannot be taken with
    its class and the reason, and for a file that is damaged. ArgumentError for what is neither.
    """
    if isinstance(model, str | Path):
        return _loaded(Path(model), custom_objects, compile)
    if not any(c.__module__.split(".")[0] == "keras" for c in type(model).__mro__) or not hasattr(model, "save"):
        raise ArgumentError(
            f"from_keras takes a Keras 3 model or the path of a .keras file, got {model!r}; "
            "models.load_model reads graphkit's own"
        )
    with module("tempfile").TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return _loaded(path, custom_objects, compile)


def load_keras_weights(model: Any, path: Any, strict: bool = True) -> WeightsReport:
    """Sets the weights of a graphkit model from a `.weights.h5` or `.keras` file, by the path of each layer.

    The layers go by their names where the file has them all, else by their class and order, as in Keras. Gives a
    report: loaded, skipped, missing. Raises SavingError where strict and a weight is on one side alone, ShapeError and
    DtypeError for another shape or dtype; nothing is changed then.
    """
    return set_weights(model, read_weights(Path(path)), strict)


def _loaded(path: Path, custom_objects: Mapping[str, Any] | None, compile: bool) -> Any:
    with working("load"):
        entry, weights = read_keras(path)
        return _whole(path, entry, weights, custom_objects, compile)


def _whole(
    path: Path, entry: dict[str, Any], weights: Weights, custom_objects: Mapping[str, Any] | None, compile: bool
) -> Any:
    try:
        with changed(allowance=Allowance(2 * path.stat().st_size + SPARE)):
            return _made(entry, weights, custom_objects, compile)
    except GraphkitError:
        raise
    except DAMAGE as error:
        raise SavingError(f"{path}: the configuration cannot be read: {type(error).__name__}: {error}") from error


def _made(entry: dict[str, Any], weights: Weights, custom_objects: Mapping[str, Any] | None, compile: bool) -> Any:
    reader = KerasReader(custom_objects)
    model = reader.model(entry)
    if model.weights or any("optimizer" not in p for p in weights.arrays):
        set_weights(model, weights, strict=True, names=True)
    if compile and entry.get("compile_config"):
        settings = entry["compile_config"]
        model.compile(**{name: _setting(reader, settings, name) for name in COMPILED if name in settings})
        set_optimizer(model, weights)
    return model


def _setting(reader: KerasReader, settings: dict[str, Any], name: str) -> Any:
    try:
        return reader.value(settings[name])
    except GraphkitError as error:
        raise SavingError(f"compile {name}: {error}; or give compile=False, and compile it here") from error
