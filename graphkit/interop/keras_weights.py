"""Where Keras keeps what: its paths of weights as ours, its order of an optimizer's variables as our slots.

A layer's path in a file is made of the attributes that hold it; in a list it goes by its class, counted. The file also
says each layer's name, which is used where it can be.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from graphkit.core.dtypes import Array
from graphkit.core.errors import SavingError
from graphkit.interop.keras_file import Weights
from graphkit.layers.identifiers import snake_case
from graphkit.layers.recurrent import Recurrent
from graphkit.layers.rnn import CellLayer
from graphkit.layers.state import State
from graphkit.models.model import Model
from graphkit.models.sequential import Sequential
from graphkit.models.weights import WeightsReport, places, put
from graphkit.train.averaging import AVERAGE, GATHERED
from graphkit.train.factored import Adafactor
from graphkit.train.loss_scale import LossScaleOptimizer
from graphkit.train.optimizers import Nadam, RMSprop

ALONE = (AVERAGE, GATHERED, "velocity_hat")
OF_TRAINING = ("optimizer", "seed_generator")


def set_weights(model: Any, file: Weights, strict: bool, names: bool = False) -> WeightsReport:
    """Sets the variables of a model from a file; see `put`.

    names: layers in attributes take the names of the file too.
    """
    variables = located(model, file, names)
    paths = {id(v): path for path, v in places(model).first.items()}
    arrays: dict[str, Array] = {}
    for place, array in file.arrays.items():
        if not any(part in place.split("/") for part in OF_TRAINING):
            arrays[paths[id(variables[place])] if place in variables else place] = array
    return put(model, arrays, strict)


def located(model: Any, file: Weights, names: bool) -> dict[str, Any]:
    """The variables of a model by their path in the file, those that it has."""
    variables: dict[str, Any] = {}

    def visit(layer: Any, path: str, around: tuple[Any, ...]) -> None:
        if path not in file.groups or any(layer is a for a in around):
            return
        if names and path:
            layer.name = file.names.get(path, layer.name)
        sequence = isinstance(layer, Recurrent) and not isinstance(layer, CellLayer)
        own = sorted(layer.own_weights(), key=lambda v: not getattr(v, "wanted", v.trainable))
        place = f"{path}/cell" if sequence else path
        found = {f"{place}/vars/{i}".lstrip("/"): v for i, v in enumerate(own)}
        variables.update({p: v for p, v in found.items() if p in file.arrays})
        for inner, below in _children(layer, path, file):
            visit(inner, below, (*around, layer))

    visit(model, "", ())
    return variables


def _children(layer: Any, path: str, file: Weights) -> Iterator[tuple[Any, str]]:
    """The layers that a layer holds, with their paths in the file."""
    if isinstance(layer, Sequential) or (isinstance(layer, Model) and layer.functional is not None):
        yield from _listed(layer.layers, f"{path}/layers".lstrip("/"), file)
    for name, value in sorted(layer._attributes().items()):
        place = f"{path}/{name}".lstrip("/")
        if place not in file.groups:
            place = f"{path}/_{name}".lstrip("/")
        if isinstance(value, State):
            yield value, place
        elif isinstance(value, list | tuple | dict):
            yield from _listed(value.values() if isinstance(value, dict) else value, place, file)


def _listed(items: Iterable[Any], path: str, file: Weights) -> Iterator[tuple[Any, str]]:
    """Layers of a list: by their names where the file has them all, else by class and count as Keras does."""
    count: Counter[str] = Counter()
    places: list[tuple[Any, str]] = []
    for item in items:
        nested = isinstance(item, list | tuple | dict)
        if not nested and not isinstance(item, State):
            continue
        kind = "container" if nested else "functional" if type(item) is Model else snake_case(type(item).__name__)
        place = f"{path}/{kind}_{count[kind]}" if count[kind] else f"{path}/{kind}"
        count[kind] += 1
        if nested:
            yield from _listed(item.values() if isinstance(item, dict) else item, place, file)
        else:
            places.append((item, place))
    inside = [p for p in file.names if p.startswith(f"{path}/") and "/" not in p[len(path) + 1 :]]
    named = {file.names[p]: p for p in inside}
    by_name = len(named) == len(inside) and all(item.name in named for item, _ in places if item.weights)
    yield from ((item, named.get(item.name, place) if by_name else place) for item, place in places)


# the optimizer


def set_optimizer(model: Any, file: Weights) -> None:
    """Step count, rate and slots of the compiled optimizer, where the file has them. SavingError where they differ."""
    arrays = {int(p.rsplit("/", 1)[1]): a for p, a in file.arrays.items() if p.startswith("optimizer/vars/")}
    optimizer = model.optimizer
    if len(arrays) > len(_first(optimizer)):
        optimizer.build(model.trainable_weights)
    wanted = _order(optimizer)
    fits = sorted(arrays) == list(range(len(wanted))) and all(
        v is None or v.array.shape == arrays[i].shape for i, v in enumerate(wanted)
    )
    if arrays and not fits:
        raise SavingError(
            f"the file has {len(arrays)} variables of the optimizer, and {type(optimizer).__name__} over the "
            f"{len(model.trainable_weights)} weights of {model.name!r} that are trained needs {len(wanted)} of their "
            "shapes; it was built when other weights were trained. Give compile=False, then compile anew"
        )
    if not arrays:
        warnings.warn(f"{model.name!r}: the file holds no optimizer state; it begins anew", UserWarning, stacklevel=6)
        return
    for variable, (_, array) in zip(wanted, sorted(arrays.items()), strict=True):
        if variable is not None:
            variable.assign(array.astype(variable.dtype))


def _first(optimizer: Any) -> list[Any]:
    """What Keras keeps first: the step count and the rate, the scale."""
    rate = [] if optimizer.schedule is not None else [optimizer._rate]
    scale = [optimizer.step_counter, optimizer.dynamic_scale] if isinstance(optimizer, LossScaleOptimizer) else []
    return [optimizer._calls, *rate, *scale]


def _order(optimizer: Any) -> list[Any]:
    """The variables of a built optimizer in Keras's order; None for one that we do without."""
    if isinstance(optimizer, LossScaleOptimizer):
        return [*_first(optimizer), *_order(optimizer.inner_optimizer)]
    slots = [optimizer._slots[id(v)] for v in optimizer._built]
    names = list(dict.fromkeys(name for own in slots for name in own))
    separate = [n for n in names if n in ALONE or isinstance(optimizer, RMSprop)]
    together = [n for n in names if n not in separate]
    if isinstance(optimizer, Adafactor):
        rows = [[own.get("row"), own.get("column"), own.get("velocity")] for own in slots]
    else:
        rows = [[own[n] for n in together if n in own] for own in slots]
    first = [own[n] for n in (AVERAGE, GATHERED) if n in separate for own in slots]
    last = [own[n] for n in separate if n not in (AVERAGE, GATHERED) for own in slots]
    product = [optimizer.product] if isinstance(optimizer, Nadam) and slots else []
    return [*_first(optimizer), *first, *(s for row in rows for s in row), *last, *product]
