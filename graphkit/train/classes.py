"""class_weight: a weight for each class of the targets, as sample weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError


def with_class_weight(y: Any, class_weight: Any, sample_weight: Any, names: Sequence[str] | None) -> Any:
    """sample_weight times the weight of each row's class.

    class_weight: {class: weight}, or {output name: {class: weight}} for several outputs. Targets are class numbers or
    one-hot rows. Raises ArgumentError for an unknown output or a target that has no classes.
    """
    if not isinstance(class_weight, Mapping) or not class_weight:
        raise ArgumentError(
            f"class_weight must map classes to weights, got {class_weight!r}; for example "
            f"class_weight={{0: 1.0, 1: 2.0}}"
        )
    nested = all(isinstance(v, Mapping) for v in class_weight.values())
    if not nested:
        if isinstance(y, Mapping | list | tuple) and len(names or []) > 1:
            example = f"{{{(names or ['output'])[0]!r}: {{0: 1.0}}}}"
            raise ArgumentError(f"class_weight for {len(names or [])} outputs must name them: {example}")
        one = next(iter(y.values())) if isinstance(y, Mapping) else y
        return _times(_weights(one, class_weight, "y"), sample_weight)
    unknown = [n for n in class_weight if names is not None and n not in names]
    if unknown:
        raise ArgumentError(
            f"class_weight names {unknown[0]!r}, but the outputs are {', '.join(map(repr, names or []))}"
        )
    targets = dict(y) if isinstance(y, Mapping) else dict(zip(names or [], y, strict=True))
    given = _by_output(sample_weight, names or list(targets))
    for name, weights in class_weight.items():
        if name not in targets:
            raise ArgumentError(f"class_weight names {name!r}, which has no target")
        given[name] = _times(_weights(targets[name], weights, name), given.get(name))
    return given


def _by_output(sample_weight: Any, names: Sequence[str]) -> dict[str, Any]:
    if sample_weight is None:
        return {}
    if isinstance(sample_weight, Mapping):
        return dict(sample_weight)
    if isinstance(sample_weight, list | tuple):
        return dict(zip(names, sample_weight, strict=True))
    return dict.fromkeys(names, sample_weight)


def _weights(y: Any, class_weight: Mapping[Any, Any], name: str) -> Array:
    """The weight of each row: its class is the number itself, or the place of the one."""
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] > 1:
        classes = array.argmax(axis=1)
    elif array.ndim <= 2:
        classes = array.reshape(-1)
    else:
        raise ArgumentError(f"class_weight needs one class for each row, and {name!r} has shape {array.shape}")
    found = np.ones(len(classes), np.float32)
    for kind, weight in class_weight.items():
        found[classes == kind] = weight
    return found


def _times(weights: Array, sample_weight: Any) -> Array:
    if sample_weight is None:
        return weights
    given = np.asarray(sample_weight, np.float32)
    return weights.reshape(-1, *[1] * (given.ndim - 1)) * given if given.ndim > 1 else weights * given
