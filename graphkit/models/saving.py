"""One file for a model: configuration as JSON, weights and the state of training as safetensors, in a plain zip.

Stop, save, load, go on: the same numbers as without a stop. The file holds weights, optimizer slots, step count, rate,
statistics, the streams of random numbers, and where `fit` stands: epoch, batch, order of rows, running means.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphkit.core.context import Allowance, changed
from graphkit.core.dtypes import Array
from graphkit.core.errors import GraphkitError, SavingError, StateError
from graphkit.core.files import write_whole
from graphkit.core.lazy import module
from graphkit.core.progress import each, working
from graphkit.core.version import VERSION
from graphkit.models.model import Model
from graphkit.models.structure import ModelReader, ModelWriter
from graphkit.models.weights import Places, WeightsReport, arrays_of, pack, places, put, unpack
from graphkit.ops import Variable
from graphkit.ops.random import made_generator, shared_generator
from graphkit.train.course import course_of
from graphkit.train.optimizer import Optimizer

FORMAT = 1
CONFIG, WEIGHTS, STATE, CONSTANTS = "config.json", "weights.safetensors", "state.safetensors", "constants.safetensors"
PARTS = (CONFIG, WEIGHTS, STATE, CONSTANTS)
LONGEST_CONFIG = 64 * 2**20
SPARE = 16 * 2**20
CHUNK = 16 * 2**20
DAMAGE = (LookupError, TypeError, ValueError, AttributeError, RecursionError, ArithmeticError, MemoryError)


def save_model(model: Any, path: Any) -> Path:
    """Writes the whole model; see `Model.save`."""
    writer = ModelWriter()
    found = places(model)
    trainer = model._trainer if model.compiled else None
    config: dict[str, Any] = {"format": FORMAT, "graphkit": VERSION, "model": writer.layer(model)}
    config["layers"] = writer.layers
    config["trainable"] = {
        "layers": {p: bool(x._trainable) for p, x in found.layers.items()},
        "weights": {p: [bool(v.trainable), bool(getattr(v, "wanted", v.trainable))] for p, v in found.first.items()},
    }
    config["compile"] = None if trainer is None else _compiled(trainer, writer, found)
    parts = {
        CONFIG: json.dumps(config, allow_nan=False).encode(),
        WEIGHTS: pack(arrays_of(found)),
        STATE: pack({**_running_state(found), **(_optimizer_state(model, found) if trainer is not None else {})}),
        CONSTANTS: pack(writer.constants),
    }
    buffer, zipfile = io.BytesIO(), module("zipfile")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return write_whole(path, lambda file: file.write(buffer.getbuffer()))


def load_model(path: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True) -> Any:
    """The model that `model.save` wrote, with its weights; with `compile` as it was compiled, to go on training.

    custom_objects: classes and functions of yours by name, beside those that `register_serializable` made known; a
    file names nothing else, and no code comes from it. A compiled model brings the random state of its training along.
    Raises SavingError for a file that is damaged or names something unknown.
    """
    with working("load"):
        parts = read_parts(Path(path))
        return _whole(path, parts, custom_objects, compile)


def _whole(path: Any, parts: Mapping[str, bytes], custom_objects: Mapping[str, Any] | None, compile: bool) -> Any:
    allowance = Allowance(2 * sum(map(len, parts.values())) + SPARE)
    try:
        with changed(allowance=allowance):
            return _loaded(path, parts, custom_objects, compile)
    except GraphkitError:
        raise
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SavingError(f"{path}: {CONFIG} is no JSON: {error}") from error
    except DAMAGE as error:
        raise SavingError(f"{path}: the configuration cannot be read: {type(error).__name__}: {error}") from error


def _loaded(path: Any, parts: Mapping[str, bytes], custom_objects: Mapping[str, Any] | None, compile: bool) -> Any:
    config = json.loads(parts[CONFIG])
    if config.get("format") != FORMAT:
        raise SavingError(
            f"{path} has format {config.get('format')!r}, this version reads {FORMAT}; pip install "
            "--upgrade graphkit, or save it with the older one"
        )
    reader = ModelReader(config["layers"], custom_objects, unpack(parts[CONSTANTS], CONSTANTS))
    model = reader.layer(config["model"])
    if not isinstance(model, Model):
        raise SavingError(f"{path} holds a {type(model).__name__}, not a model")
    found = places(model)
    weights = unpack(parts[WEIGHTS], WEIGHTS)
    if weights or found.first:
        put(model, weights, strict=True)
    state = unpack(parts[STATE], STATE)
    _set_trainable(found, config["trainable"])
    _set_running(found, state, compile and config["compile"] is not None)
    if compile and config["compile"] is not None:
        _compile(model, config["compile"], reader, found, state)
    return model


def save_weights(model: Any, path: Any) -> Path:
    """Writes the weights alone; see `Model.save_weights`."""
    if not model.built:
        raise StateError(
            f"{model.name!r} has no weights yet, and save_weights writes those it has; call it on data first, or "
            "model.build(input_shape)"
        )
    data = pack(arrays_of(places(model)))
    return write_whole(path, lambda file: file.write(data))


def load_weights(model: Any, path: Any, strict: bool = True) -> WeightsReport:
    """Weights by path, of a file of weights or of a whole model; see `Model.load_weights`."""
    source = _existing(Path(path))
    with working("load"):
        data = read_parts(source)[WEIGHTS] if module("zipfile").is_zipfile(source) else source.read_bytes()
        return put(model, unpack(data, str(path)), strict)


def load_state(model: Any, path: Any) -> None:
    """Brings a compiled model to the state of a file of the same model: weights, optimizer, random numbers."""
    with working("load"):
        parts = read_parts(Path(path))
        found = places(model)
        put(model, unpack(parts[WEIGHTS], WEIGHTS), strict=True)
    state = unpack(parts[STATE], STATE)
    saved = json.loads(parts[CONFIG])["compile"]
    _set_running(found, state, shared=True)
    if saved is not None and model.compiled:
        _set_optimizers(model, saved["state"], found, state)
        _set_course(model, saved["course"], state)


# the file


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise SavingError(f"there is no file {str(path)!r}; expected one that model.save or save_weights wrote")
    return path


def read_parts(path: Path, expected: Sequence[str] = PARTS) -> dict[str, bytes]:
    """The parts of a file. Nothing is unpacked to disk, and no part may be larger than it is in the file."""
    zipfile = module("zipfile")
    try:
        with zipfile.ZipFile(_existing(path)) as archive:
            entries = archive.infolist()
            names = [e.filename for e in entries]
            unknown = [n for n in names if n not in expected]
            if unknown or len(set(names)) != len(names):
                odd = unknown[0] if unknown else next(n for n in names if names.count(n) > 1)
                raise SavingError(f"{path} holds the part {odd!r}, unknown or twice; expected {', '.join(expected)}")
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                    raise SavingError(
                        f"{path}: {entry.filename} is compressed, to grow to {entry.file_size} bytes; "
                        "a model's parts are stored as they are"
                    )
            if sum(e.file_size for e in entries) > path.stat().st_size:
                raise SavingError(f"{path}: its parts claim more bytes than the file has")
            if len(names) != len(expected):
                raise SavingError(f"{path} lacks parts: it has {', '.join(names) or 'none'}")
            if archive.getinfo(CONFIG).file_size > LONGEST_CONFIG:
                raise SavingError(f"{path}: {CONFIG} is larger than {LONGEST_CONFIG} bytes")
            return {name: _read(archive, name) for name in names}
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, GraphkitError):
            raise
        raise SavingError(
            f"{path} is no saved model, expected a file of model.save, or it is damaged: {error}{_kind(path)}"
        ) from error


def _kind(path: Path) -> str:
    """What reads a file of another kind, where its name tells."""
    if path.suffix in (".keras", ".h5"):
        return "; for files of Keras there are graphkit.from_keras and load_keras_weights"
    return "; for ONNX files there is python -m serve and graphkit inspect" if path.suffix == ".onnx" else ""


def _read(archive: Any, name: str) -> bytes:
    """A part, some megabytes at a time, so that the reading shows how far it is."""
    sizes = range(0, archive.getinfo(name).file_size + 1, CHUNK)
    with archive.open(name) as part:
        return b"".join([part.read(CHUNK) for _ in each(f"{name}, parts of {CHUNK >> 20} MiB", sizes)])


# training


def _compiled(trainer: Any, writer: ModelWriter, found: Places) -> dict[str, Any]:
    """What `compile` was given, and what the optimizer has built."""
    names = ("loss", "loss_weights", "metrics", "weighted_metrics")
    given = dict(zip(names, trainer._settings, strict=True))
    config = {name: writer.value(value, f"compile {name}") for name, value in given.items()}
    config.update(run_eagerly=trainer.run_eagerly, steps_per_execution=trainer.steps_per_execution)
    config["optimizer"] = writer.value(trainer.optimizer, "compile optimizer")
    config["course"] = trainer.course.saved()
    config["state"] = {name: _noted(stage, found) for name, stage in _stages(trainer.model).items()}
    return config


def _stages(holder: Any, name: str = "") -> dict[str, Any]:
    """The compiled optimizer, those that the model keeps on itself, and those that these hold, by name."""
    held = {f"{name}{key}": v for key, v in vars(holder).items() if isinstance(v, Optimizer)}
    if isinstance(holder, Model) and holder.compiled and holder.optimizer is not None:
        held = {"optimizer": holder.optimizer} | {k: v for k, v in held.items() if v is not holder.optimizer}
    for key, optimizer in list(held.items()):
        held.update(_stages(optimizer, f"{key}."))
    return held


def _noted(optimizer: Any, found: Places) -> dict[str, Any]:
    """The paths of the variables that an optimizer has slots for, and of those it does not decay."""
    paths = {name: [found.path_of(v) for v in getattr(optimizer, name)] for name in ("_built", "_undecayed")}
    if None in paths["_built"]:
        warnings.warn(
            f"{optimizer.name} also trains variables that the model does not hold; their slots are not saved",
            UserWarning,
            stacklevel=6,
        )
    kept = {name: [p for p in listed if p is not None] for name, listed in paths.items()}
    return {**kept, "_undecayed_names": optimizer._undecayed_names}


def _own_state(optimizer: Any) -> dict[str, Any]:
    """The variables that an optimizer keeps on itself."""
    return {name: v for name, v in vars(optimizer).items() if isinstance(v, Variable)}


def _optimizer_state(model: Any, found: Places) -> dict[str, Array]:
    state: dict[str, Array] = {}
    for stage, optimizer in _stages(model).items():
        state.update({f"{stage}/{name}": v.array.copy() for name, v in _own_state(optimizer).items()})
        for variable in optimizer._built:
            path = found.path_of(variable)
            if path is not None:
                slots = optimizer._slots[id(variable)].items()
                state.update({f"{stage}/slots/{path}:{name}": s.array.copy() for name, s in slots})
    if model._trainer.course.batch:
        state.update({f"totals/{number}": array for number, array in enumerate(model._trainer.totals())})
    return state


def _set_course(model: Any, saved: Mapping[str, Any], state: Mapping[str, Array]) -> None:
    count = sum(name.startswith("totals/") for name in state)
    model._trainer.course = course_of(dict(saved), [state[f"totals/{number}"] for number in range(count)])


def _running_state(found: Places) -> dict[str, Array]:
    """The streams of random numbers, and what stateful layers carry from call to call."""
    streams = {f"random/{name}": stream for name, stream in found.streams.items()}
    shared = made_generator()
    if shared is not None:
        streams["random"] = shared
    carried = {f"carried/{name}": v.array.copy() for name, v in found.carried.items()}
    return carried | {
        f"{n}/{part}": getattr(s, part).array.copy() for n, s in streams.items() for part in ("key", "step")
    }


def _set_running(found: Places, state: Mapping[str, Array], shared: bool) -> None:
    """The same of a file; `shared` too: the stream of the process, which layers without a seed draw from."""
    streams = {f"random/{name}": stream for name, stream in found.streams.items()}
    if shared and "random/key" in state:
        streams["random"] = shared_generator()
    for name, variable in found.carried.items():
        _assign(variable, state, f"carried/{name}")
    for name, stream in streams.items():
        _assign(stream.key, state, f"{name}/key")
        _assign(stream.step, state, f"{name}/step")


def _set_optimizers(model: Any, saved: Mapping[str, Any], found: Places, state: Mapping[str, Array]) -> None:
    for stage, optimizer in _stages(model).items():
        noted = saved[stage]
        optimizer._undecayed = [found.first[p] for p in noted["_undecayed"]]
        optimizer._undecayed_names = list(noted["_undecayed_names"])
        optimizer.build([found.first[p] for p in noted["_built"]])
        for name, variable in _own_state(optimizer).items():
            _assign(variable, state, f"{stage}/{name}")
        for path in noted["_built"]:
            for name, slot in optimizer._slots[id(found.first[path])].items():
                _assign(slot, state, f"{stage}/slots/{path}:{name}")


def _compile(
    model: Any, saved: Mapping[str, Any], reader: ModelReader, found: Places, state: Mapping[str, Array]
) -> None:
    if type(model).compile is not Model.compile:
        warnings.warn(
            f"{type(model).__name__} has a compile of its own, so {model.name!r} is loaded uncompiled; "
            "compile it, then model.load_state(path) brings its optimizers to where they were",
            UserWarning,
            stacklevel=5,
        )
        return
    names = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly", "steps_per_execution")
    model.compile(**{name: reader.value(saved[name]) for name in names})
    _set_optimizers(model, saved["state"], found, state)
    _set_course(model, saved["course"], state)


def _assign(variable: Any, state: Mapping[str, Array], name: str) -> None:
    array = state.get(name)
    if array is None or array.shape != variable.array.shape or array.dtype != variable.array.dtype:
        got = "nothing" if array is None else f"{array.dtype} {array.shape}"
        raise SavingError(
            f"the file has {got} for {name!r}, expected {variable.array.dtype} {variable.array.shape}; it is damaged"
        )
    variable.assign(array)


def _set_trainable(found: Places, saved: Mapping[str, Any]) -> None:
    for path, layer in found.layers.items():
        layer._trainable = bool(saved["layers"].get(path, layer._trainable))
    for path, variable in found.first.items():
        if path in saved["weights"]:
            variable.trainable, variable.wanted = map(bool, saved["weights"][path])
