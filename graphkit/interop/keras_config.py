"""Keras's configuration of a model as graphkit's layers: each class by its name, each call of a graph made again.

Nothing of a file is run or imported: it names classes of graphkit, registered ones, and those in custom_objects. What
cannot be taken is gathered, so that one error names it all.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.errors import GraphkitError, SavingError
from graphkit.layers.identifiers import snake_case
from graphkit.layers.input import Input, InputLayer
from graphkit.layers.layer import Layer
from graphkit.layers.wrappers import Bidirectional
from graphkit.models.config import Reader, families
from graphkit.models.functional import sorted_leaves
from graphkit.models.model import Model
from graphkit.models.sequential import Sequential

GRAPH = ("layers", "input_layers", "output_layers")
WITHOUT_EFFECT = ("implementation", "unroll", "use_cudnn", "flash_attention", "autocast", "dtype", "renorm_momentum",
                  "renorm_clipping")  # fmt: skip
DTYPES = ("float16", "float32", "float64", "bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)))
FAILURES = (GraphkitError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


class KerasReader(Reader):
    """Makes what a configuration of Keras describes; `problems` are (layer, class, why) of what it cannot make."""

    def __init__(self, custom: Mapping[str, Any] | None) -> None:
        super().__init__(custom, {})
        self.problems: list[tuple[str, str, str]] = []
        self._shared: dict[int, Any] = {}
        self._unnumbered: dict[tuple[str, Any], list[Any]] = {}
        self._symbols: dict[tuple[str, int], list[Any]] = {}

    def model(self, entry: dict[str, Any]) -> Any:
        """The model of an entry, its weights made. SavingError names all layers that cannot be taken."""
        model = self.layer(entry)
        if not self.problems and not isinstance(model, Model):
            self.problems.append((model.name, entry["class_name"], "is a layer, not a model"))
        self.refuse(f"the model {entry['config'].get('name', '')!r}")
        return model

    def refuse(self, what: str) -> None:
        """SavingError where there were problems."""
        if self.problems:
            listed = "\n".join(f"  {name!r} ({kind}): {why}" for name, kind, why in self.problems)
            raise SavingError(f"{what} cannot be taken from Keras:\n{listed}")

    # layers

    def layer(self, entry: dict[str, Any]) -> Any:
        """The layer of an entry, made once where the file says it is shared; None where there is a problem.

        Keras numbers a shared object from its second place on; the first is told by class and name.
        """
        number, alike = entry.get("shared_object_id"), (entry["class_name"], entry["config"].get("name"))
        before = self._unnumbered.setdefault(alike, [])
        if number is not None and number not in self._shared and len(before) == 1:
            self._shared[number] = before[0]
        if number is not None and number in self._shared:
            return self._shared[number]
        made = self._tried(entry, lambda: self._layer(entry))
        if number is None:
            before.append(made)
        else:
            self._shared[number] = made
        return made

    def _tried(self, entry: dict[str, Any], make: Callable[[], Any]) -> Any:
        known = len(self.problems)
        try:
            return make()
        except FAILURES as error:
            if len(self.problems) == known:
                config = entry.get("config")
                name = entry.get("name") or (config.get("name") if isinstance(config, dict) else None) or "?"
                why = str(error) if isinstance(error, GraphkitError) else f"{type(error).__name__}: {error}"
                self.problems.append((name, entry.get("class_name", "?"), why))
            return None

    def _layer(self, entry: dict[str, Any]) -> Any:
        config, module, kind = entry["config"], entry.get("module") or "", entry["class_name"]
        own = module.split(".")[0] == "keras"
        if own and kind == "Lambda":
            raise SavingError("its function is code of Keras; write a Layer with a `call` of graphkit's ops")
        if own and kind == "InputLayer":
            return self._input(config)
        if own and kind == "Sequential":
            return self._sequential(config)
        custom = None if own else self._custom(entry)
        if set(GRAPH) <= set(config):
            return self._functional(config, custom or Model)
        if custom is None:
            custom = families()["layers"].get(kind)
            if custom is None or not issubclass(custom, Layer):
                raise SavingError(f"graphkit has no layer {kind}")
        if custom is Bidirectional:
            config = _bidirectional(config)
        layer = self._made(custom, config)
        if isinstance(layer, Model):
            _call(layer, entry.get("build_config") or {})
        return _frozen(layer, config)

    def _custom(self, entry: dict[str, Any]) -> Any:
        kind = self.found(_wanted(entry, entry["class_name"]))
        if not issubclass(kind, Layer):
            raise SavingError(f"custom_objects gives {kind.__module__}.{kind.__name__}, which is no graphkit.Layer")
        return kind

    def _made(self, kind: Any, config: dict[str, Any]) -> Any:
        """An object of a class and its arguments; those without effect are left out, others that it lacks refused."""
        known = len(self.problems)
        given = {n: _dtype(v) if n == "dtype" else self.value(v) for n, v in config.items()}
        if len(self.problems) > known:
            raise SavingError("what it is made of cannot be taken")
        taken = _parameters(kind)
        spare = (*WITHOUT_EFFECT, "trainable") if issubclass(kind, Layer) else WITHOUT_EFFECT
        lacking = [n for n, v in given.items() if n not in (*taken, *spare) and not _is_nothing(v)]
        if lacking:
            raise SavingError(f"its argument {lacking[0]}={given[lacking[0]]!r} is not known to {kind.__name__}")
        if given.get("lora_rank"):
            raise SavingError("it was saved with lora_rank, whose weights Keras adds to the kernel; save it without")
        given = {n: v for n, v in given.items() if n in taken}
        from_config = getattr(kind, "from_config", None)
        if from_config is None or getattr(from_config, "__func__", None) is Layer.from_config.__func__:  # type: ignore[attr-defined] # a class method
            return kind(**given)
        return from_config(given)

    def _input(self, config: dict[str, Any]) -> InputLayer:
        odd = [n for n in ("sparse", "ragged", "optional") if config.get(n)]
        if odd:
            raise SavingError(f"an Input with {odd[0]}=True is not known to graphkit")
        dtype = _dtype(config["dtype"])
        return InputLayer(
            batch_shape=config["batch_shape"], dtype=None if dtype == "float32" else dtype, name=config["name"]
        )

    def _sequential(self, config: dict[str, Any]) -> Any:
        known = len(self.problems)
        layers = [self.layer(entry) for entry in config["layers"]]
        if len(self.problems) > known:
            return None
        model = Sequential(layers, name=config["name"])
        if config.get("build_input_shape") and not model.built:
            model.build(config["build_input_shape"])
        return _frozen(model, config)

    # graphs

    def _functional(self, config: dict[str, Any], kind: Any) -> Any:
        known, outer = len(self.problems), self._symbols
        made = {entry["name"]: self._operation(entry) for entry in config["layers"]}
        if len(self.problems) > known:
            return None
        self._symbols = {(n, 0): [x.symbol()] for n, x in made.items() if isinstance(x, InputLayer)}
        waiting = [(e, i, n) for e in config["layers"] for i, n in enumerate(e["inbound_nodes"])]
        while waiting:
            ready = [w for w in waiting if all(h in self._symbols for h in _histories(w[2]))]
            for entry, number, node in ready:
                found = self._tried(entry, lambda e=entry, n=node: self._called(made[e["name"]], n))  # type: ignore[misc] # bound now
                if len(self.problems) > known:
                    return None
                self._symbols[entry["name"], number] = sorted_leaves(found)
            late = [w for w in waiting if not any(w is r for r in ready)]
            if not ready:
                raise SavingError(f"the call of {late[0][0]['name']!r} rests on a value that no other call gives")
            waiting = late
        inputs, outputs = (self._end(config[name], made) for name in ("input_layers", "output_layers"))
        model = kind(inputs, outputs, name=config["name"])
        model.functional.name_outputs(list(_leaf_names(config["output_layers"])))
        model.functional.layers = [x for x in made.values() if isinstance(x, Layer)]
        self._symbols = outer
        return _frozen(model, config)

    def _operation(self, entry: dict[str, Any]) -> Any:
        """What a graph calls: a layer, or a function for an op."""
        if not str(entry.get("module")).startswith(("keras.src.ops", "keras.ops")):
            return self.layer(entry)
        return self._tried(entry, lambda: self._function_of(entry))

    def _function_of(self, entry: dict[str, Any]) -> Callable[..., Any]:
        name = entry["class_name"]
        if name == "GetItem":
            return lambda x, key: ops.getitem(x, tuple(key) if isinstance(key, list) else key)
        table = families()["ops"]
        function = table.get(snake_case(name)) or {n.replace("_", ""): f for n, f in table.items()}.get(name.lower())
        if function is None:
            raise SavingError(f"graphkit.ops has no {snake_case(name)}")
        fixed = {n: self.value(v) for n, v in entry["config"].items() if n != "name"}
        taken = list(inspect.signature(function).parameters)
        fixed = {n: v for n, v in fixed.items() if n in taken or not _is_nothing(v)}
        leading = [fixed.pop(n) for n in itertools.takewhile(lambda n: n in fixed, taken)]
        return lambda *args, **kwargs: function(*leading, *args, **{**fixed, **kwargs})

    def _called(self, target: Any, node: Any) -> Any:
        """One call. `training` is left out, since Keras sets it anew in each step; masks go along with the values."""
        args, kwargs = ([self.value(v) for v in node["args"]], {n: self.value(v) for n, v in node["kwargs"].items()})
        if isinstance(target, Layer):
            kwargs = {
                n: v for n, v in kwargs.items()
                if n != "training" and not (n.endswith("mask") and (v is None or n not in target._call_arguments))
            }  # fmt: skip
        return target(*args, **kwargs)

    def _end(self, structure: Any, made: Mapping[str, Any]) -> Any:
        """Inputs or outputs in their structure. Here Keras counts the calls of a functional model from 1."""
        if _is_leaf(structure):
            name, number, place = structure
            graph = isinstance(made[name], Model) and not isinstance(made[name], Sequential)
            return self._symbols[name, number - 1 if graph else number][place]
        if isinstance(structure, dict):
            return {k: self._end(v, made) for k, v in structure.items()}
        return [self._end(v, made) for v in structure]

    # values

    def value(self, x: Any) -> Any:
        """What JSON of Keras stands for; a list of plain values is a tuple, since JSON knows no other."""
        if isinstance(x, list):
            plain = not any(isinstance(v, dict | list) for v in x)
            return tuple(x) if plain else [self.value(v) for v in x]
        if not isinstance(x, dict):
            return x
        if "class_name" not in x or "config" not in x:
            return {n: self.value(v) for n, v in x.items()}
        kind, config = x["class_name"], x["config"]
        plain_kinds: dict[str, Callable[[], Any]] = {
            "__keras_tensor__": lambda: self.reference(config),
            "__tensor__": lambda: np.asarray(config["value"], config["dtype"]),
            "__numpy__": lambda: np.asarray(config["value"], config["dtype"]),
            "__slice__": lambda: slice(*(config[n] for n in ("start", "stop", "step"))),
            "__ellipsis__": lambda: ...,
            "function": lambda: self._function(x),
        }
        if kind in plain_kinds:
            return plain_kinds[kind]()
        return _dtype(x) if kind.startswith("DTypePolicy") else self._object(x)

    def reference(self, entry: dict[str, Any]) -> Any:
        name, number, place = entry["keras_history"]
        return self._symbols[name, number][place]

    def _function(self, entry: dict[str, Any]) -> Any:
        name = entry["config"].split(">")[-1]
        if str(entry.get("module")).split(".")[0] != "keras":
            return self.found(_wanted(entry, name), is_class=False)
        tables = [families()[f] for f in ("activations", "losses", "metrics", "ops")]
        found = next((t[name] for t in tables if name in t), None)
        if found is None:
            raise SavingError(f"graphkit has no function {name!r}")
        return found

    def _object(self, entry: dict[str, Any]) -> Any:
        """A layer, or an object of another family: an initializer, a loss, a schedule."""
        module, kind = str(entry.get("module")), entry["class_name"]
        if kind == "__lambda__":
            raise SavingError("a lambda is code of Keras; give a function with a name, and custom_objects")
        if module.split(".")[0] != "keras":
            made = self.found(_wanted(entry, kind))
            return self.layer(entry) if issubclass(made, Layer) else self._made(made, entry["config"])
        family = module.split(".")[-1]
        if family in ("keras", "layers", "models", "functional"):
            return self.layer(entry)
        made = families().get(family, {}).get(kind)
        if made is None:
            raise SavingError(f"graphkit has no {kind} among its {family}")
        return self._made(made, entry["config"])


def _is_nothing(value: Any) -> bool:
    """Whether an argument asks for nothing that graphkit would have to know."""
    return value is None or value is False or (isinstance(value, str) and value == "channels_last")


def _wanted(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return {"name": name, "module": entry.get("module"), "registered": entry.get("registered_name")}


def _parameters(kind: Any) -> set[str]:
    """The names that a constructor takes, those that it hands on to its bases too."""
    taken: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in base.__dict__:
            parameters = inspect.signature(base.__init__).parameters
            taken |= set(parameters) - {"self"}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                break
    return taken


def _dtype(policy: Any) -> Any:
    """The name of a dtype; SavingError for a policy that computes in another dtype than that of the weights."""
    name = policy["config"].get("name") if isinstance(policy, dict) else policy
    if name is not None and name not in DTYPES:
        raise SavingError(
            f"its dtype policy is {name!r}, and graphkit computes in the dtype of the weights; set "
            "layer.dtype_policy = 'float32' in Keras, or build the model under it, and save again"
        )
    return name


def _bidirectional(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the name of the layer that both were made from: the file has forward_lstm for lstm."""
    layer = config["layer"]
    name = layer["config"]["name"].removeprefix("forward_")
    return {**config, "layer": {**layer, "config": {**layer["config"], "name": name}}}


def _frozen(model: Any, config: dict[str, Any]) -> Any:
    if config.get("trainable") is False:
        model.trainable = False
    return model


def _call(model: Any, build_config: dict[str, Any]) -> None:
    """Calls a subclass of Model on symbols of the shapes it was built for, so that it makes its weights."""
    shapes = build_config.get("shapes_dict") or build_config.get("input_shape")
    if shapes is None or model.built:
        return
    if "shapes_dict" in build_config:
        model(**{n.removesuffix("_shape"): _inputs(s, n.removesuffix("_shape")) for n, s in shapes.items()})
    else:
        model(_inputs(shapes, "inputs"))


def _inputs(shapes: Any, name: str) -> Any:
    """Symbols for shapes, the batch free."""
    if isinstance(shapes, dict):
        return {n: _inputs(s, n) for n, s in shapes.items()}
    if shapes and isinstance(shapes[0], list):
        return [_inputs(s, f"{name}_{i}") for i, s in enumerate(shapes)]
    return Input(batch_shape=(None, *shapes[1:]), name=name)


def _is_leaf(structure: Any) -> bool:
    return isinstance(structure, list) and len(structure) == 3 and isinstance(structure[0], str)


def _leaf_names(structure: Any) -> Iterator[str]:
    if _is_leaf(structure):
        yield structure[0]
        return
    for item in structure.values() if isinstance(structure, dict) else structure:
        yield from _leaf_names(item)


def _histories(node: Any) -> Iterator[tuple[str, int]]:
    """The calls that a call takes values from."""
    if not isinstance(node, dict):
        if isinstance(node, list):
            for item in node:
                yield from _histories(item)
        return
    if node.get("class_name") == "__keras_tensor__":
        name, number, _ = node["config"]["keras_history"]
        yield name, number
        return
    for item in node.values():
        yield from _histories(item)
