"""How a case of each family runs on graphkit, and which of its figures are compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

import graphkit
from graphkit import GradientTape, Input, ops
from graphkit.core import tree
from graphkit.core.dtypes import is_float
from graphkit.utils import clear_session
from tests.parity.cases import Case, meant, named
from tests.parity.compare import agree

TOLERANCE = 2e-5
STEEPER = 3  # gradients have so many times the tolerance


def tolerance(case: Case) -> float:
    return float(case.told.get("tol", TOLERANCE))


def tensors(arrays: Any) -> Any:
    return tree.mapped(ops.convert_to_tensor, arrays)


def numbers(values: Any) -> list[np.ndarray]:
    return [np.asarray(v) for v in tree.leaves(values) if v is not None]


# layers and ops


class Called:
    """The layer or function of a case, and how it is called."""

    def __init__(self, case: Case) -> None:
        self.case = case
        path = case.told["layer"]
        self.is_layer = not path.startswith("fn:")
        if self.is_layer:
            full = path.removeprefix("k.") if path.startswith("k.") else f"layers.{path}"
            self.function = meant({"$": full, "args": case.told.get("args", {})})
        else:
            self.function = named(path.removeprefix("fn:"))
        if case.told.get("adapt"):
            self.function.adapt(case.figures["x0"])

    def __call__(self, inputs: Sequence[Any], others: dict[str, Any]) -> Any:
        told = self.case.told
        named_ones = {} if self.is_layer else meant(told.get("args", {}), others)
        named_ones = {**named_ones, **meant(told.get("call", {}), others)}
        given = [list(inputs)] if told.get("pass") == "list" else list(inputs)
        return self.function(*told.get("pre", []), *given, **named_ones)


def check_layer(case: Case) -> None:
    """Weights, outputs, gradients, statistics, masks, and the shapes of symbols."""
    called = Called(case)
    inputs, others = tensors(case.numbered("x")), tensors(case.beginning("t_"))
    if called.is_layer:
        _first_weights(case, called, inputs, others)
        for _ in range(case.told.get("repeat", 1) - 1):
            called(inputs, others)
    _outputs_and_gradients(case, called, inputs, others)
    if called.is_layer:
        for place, array in enumerate(called.function.get_weights()):
            if f"a{place}" in case.figures:
                agree(f"weight {place} after the call", array, case.figures[f"a{place}"], tolerance(case))
        _masks(case, called, inputs, others)
    if "sym" in case.figures:
        _symbols(case)


def _first_weights(case: Case, called: Called, inputs: Any, others: Any) -> None:
    """Builds the layer, looks at the weights it begins with, and gives it those of the case."""
    called(inputs, others)
    layer = called.function
    begun, wanted = layer.get_weights(), case.numbered("w")
    if "n_trainable" in case.figures:
        assert len(layer.trainable_weights) == int(case.figures["n_trainable"]), "how many weights train"
    for place, array in enumerate(begun):
        if f"i{place}" in case.figures:
            agree(f"weight {place} at first", array, case.figures[f"i{place}"], tolerance(case))
    assert [w.shape for w in begun] == [w.shape for w in wanted], "the shapes of the weights"
    layer.set_weights(wanted)
    if getattr(layer, "stateful", False):
        layer.reset_state()


def _outputs_and_gradients(case: Case, called: Called, inputs: Any, others: dict[str, Any]) -> None:
    watched = {f"x{i}": x for i, x in enumerate(inputs) if is_float(x.dtype)}
    watched |= {f"t_{name}": x for name, x in sorted(others.items()) if is_float(x.dtype)}
    weights = list(called.function.trainable_weights) if called.is_layer else []
    wanted = case.told.get("grad", True) and bool(watched or weights)
    with GradientTape() as tape:
        tape.watch(list(watched.values()))
        outputs = [y for y in tree.leaves(called(inputs, others)) if y is not None]
    found, figures = numbers(outputs), case.numbered("y")
    assert len(found) == len(figures), "how many outputs there are"
    for place, (got, want) in enumerate(zip(found, figures, strict=True)):
        agree(f"output {place}", got, want, tolerance(case))
    floats = [y for y, array in zip(outputs, found, strict=True) if is_float(array.dtype)]
    if not wanted or not floats:
        return
    sources = [*watched.values(), *weights]
    gradients = tape.gradient(floats, sources, output_gradients=tensors(case.numbered("ct")))
    names = [*(f"g{name}" for name in watched), *(f"gw{i}" for i in range(len(weights)))]
    bound = tolerance(case) * case.told.get("grad_tol_factor", STEEPER)
    for name, source, gradient in zip(names, sources, gradients, strict=True):
        want = case.figures.get(name, np.zeros(tuple(source.shape), np.float32))
        agree(f"gradient {name}", gradient, want, bound)


def _masks(case: Case, called: Called, inputs: Any, others: Any) -> None:
    wanted = case.numbered("m")
    if not case.told.get("mask") or not wanted:
        return
    given = list(inputs) if case.told.get("pass") == "list" else inputs[0]
    found = called.function.compute_mask(given, meant(case.told.get("call", {}), others).get("mask"))
    for place, (got, want) in enumerate(zip(numbers(found), wanted, strict=True)):
        agree(f"mask {place}", got, want, 0.0)


def _symbols(case: Case) -> None:
    """A call on inputs with a free batch announces the shapes that Keras announces."""
    called = Called(case)

    def declared(array: np.ndarray) -> Any:
        return Input(batch_shape=(None, *array.shape[1:]), dtype=str(array.dtype))

    inputs = [declared(x) for x in case.numbered("x")]
    others = {name: declared(x) for name, x in case.beginning("t_").items()}
    found = [list(y.shape) for y in tree.leaves(called(inputs, others)) if y is not None]
    assert found == json.loads(str(case.figures["sym"])), "the shapes that symbols announce"


# losses, metrics, optimizers


def check_loss(case: Case) -> None:
    """The value, and the gradient of the predictions."""
    figures = case.figures
    loss = meant({"$": f"losses.{case.told['loss']}", "args": case.told.get("args", {})})
    truth, predicted = tensors([figures["y_true"], figures["y_pred"]])
    weighted = {"sample_weight": tensors(figures["sw"])} if "sw" in figures else {}
    with GradientTape() as tape:
        tape.watch(predicted)
        value = loss(truth, predicted, **weighted)
    agree("value", value, figures["v"], tolerance(case))
    gradient = tape.gradient([value], [predicted], output_gradients=[tensors(figures["ct"])])[0]
    want = figures.get("g", np.zeros(predicted.shape, np.float32))
    scale = 1.0 / min(max(float(np.abs(np.nan_to_num(want)).max(initial=0.0)), 1e-6), 1.0) if "g" in figures else 1.0
    found = None if gradient is None else np.asarray(gradient) * scale
    agree("gradient", found, want * scale, tolerance(case) * STEEPER)


def check_metric(case: Case) -> None:
    """The result after each update, after a reset and the first update again; and the name, counted as Keras counts."""
    told = {"$": f"metrics.{case.told['metric']}", "args": case.told.get("args", {})}
    clear_session()
    _, _, before = str(case.figures["name"]).rpartition("_")
    for _ in range(int(before) if before.isdigit() else 0):
        meant(told)
    metric = meant(told)

    def update(number: int) -> Any:
        given = tensors(case.beginning(f"{number}_"))
        weighted = {"sample_weight": given["sw"]} if "sw" in given else {}
        places = [given[n] for n in ("y_true", "y_pred", "values") if n in given]
        metric.update_state(*places, **weighted)
        return metric.result()

    for number in range(int(case.figures["updates"])):
        agree(f"after update {number}", update(number), case.figures[f"r{number}"], tolerance(case))
    metric.reset_state()
    agree("after a reset", update(0), case.figures["r0"], tolerance(case))
    assert metric.name == str(case.figures["name"])


def check_optimizer(case: Case) -> None:
    """How far each variable has moved after each step, the steps and the learning rate."""
    figures, bound = case.figures, tolerance(case) * 10
    optimizer = meant({"$": f"optimizers.{case.told['optimizer']}", "args": case.told.get("args", {})})
    starts, steps = case.numbered("v"), int(figures["steps"])
    variables = [graphkit.Variable(v, name=n) for v, n in zip(starts, case.told["names"], strict=False)]
    if case.told.get("exclude"):
        optimizer.exclude_from_weight_decay(var_names=list(case.told["exclude"]))
    for step in range(steps):
        pairs = [(tensors(figures[f"g{step}_{i}"]), v) for i, v in enumerate(variables)]
        optimizer.apply_gradients(pairs)
        for i, (variable, start) in enumerate(zip(variables, starts, strict=True)):
            last = figures[f"u{steps - 1}_{i}"]
            rounding = 16 * np.finfo(np.float32).eps * float(np.abs(last).max()) / bound
            scale = max(float(np.abs(last - start).max()), rounding)
            moved, want = (variable.numpy() - start) / scale, (figures[f"u{step}_{i}"] - start) / scale
            agree(f"variable {i} after step {step + 1}", moved, want, bound)
    if case.told.get("finalize"):
        optimizer.finalize_variable_values(variables)
        for i, (variable, want) in enumerate(zip(variables, case.numbered("final"), strict=True)):
            agree(f"variable {i} at the end", variable.numpy(), want, tolerance(case))
    assert int(np.asarray(optimizer.iterations)) == int(figures["iterations"])
    rate = np.float64(np.asarray(optimizer.learning_rate))
    agree("learning rate", rate, np.float64(figures["lr"]), tolerance(case))


CHECKS = {
    "layers": check_layer,
    "ops": check_layer,
    "losses": check_loss,
    "metrics": check_metric,
    "optimizers": check_optimizer,
}
