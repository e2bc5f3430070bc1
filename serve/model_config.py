"""`config.pbtxt`, which no model needs: what a person may say of a model beside its file.

Triton's text format and fields. Those that ONNX users set are followed; of the others, and of
unknown ones, the log tells that they are not. A configuration that contradicts the file is an error.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serve.batcher import Limits
from serve.device import CPU
from serve.errors import LoadError, StartError
from serve.messages import message_class
from serve.session import SessionSettings
from serve.signatures import Signature, TensorSpec, quoted

CONFIG_FILE = "config.pbtxt"
MODEL_FILE = "model.onnx"

_LARGEST = 1 << 20
_ModelConfig = message_class("inference.ModelConfig")
_BACKENDS = ("", "onnxruntime", "onnxruntime_onnx")
_LEVELS = {0: "all", -1: "basic", 1: "extended", 2: "disable_all"}
_USED = {"name", "platform", "backend", "version_policy", "max_batch_size", "input", "output", "dynamic_batching",
         "instance_group", "model_warmup", "default_model_filename", "parameters", "optimization",
         "model_transaction_policy"}  # fmt: skip
_PARAMETERS = {"intra_op_thread_count", "enable_mem_arena", "enable_mem_pattern", "version_labels"}
_POLICY = re.compile(r"all|latest:[1-9][0-9]{0,3}|specific:[1-9][0-9]{0,17}(?:,[1-9][0-9]{0,17})*")


@dataclass(frozen=True)
class Policy:
    """Which versions are served: the `count` highest that load, or those of `numbers`, or all (neither)."""

    count: int | None = 1
    numbers: frozenset[int] | None = None

    def order(self, found: Iterable[int]) -> list[int]:
        """The versions to try, in the order of trying."""
        wanted = [number for number in found if self.numbers is None or number in self.numbers]
        return sorted(wanted, reverse=True)

    def fill(self, message: Any) -> None:
        """Write it into a ModelVersionPolicy."""
        if self.count is not None:
            message.latest.num_versions = self.count
        elif self.numbers is not None:
            message.specific.versions.extend(sorted(self.numbers))
        else:
            message.all.SetInParent()


ALL = Policy(None)


def parse_policy(text: str) -> Policy:
    """Read `latest:2`, `all` or `specific:1,3`; StartError for anything else."""
    if not _POLICY.fullmatch(text):
        raise StartError(
            f"a version policy is latest:NUMBER, all or specific:N,N, got {text!r}; for example "
            "--version-policy latest:2"
        )
    kind, _, rest = text.partition(":")
    if kind == "latest":
        return Policy(int(rest))
    return ALL if kind == "all" else Policy(None, frozenset(int(number) for number in rest.split(",")))


@dataclass(frozen=True)
class ModelSettings:
    """What is said of a model; `message` is the ModelConfig itself, `notes` what of it is not followed."""

    message: Any = field(default_factory=_ModelConfig)
    file: str = MODEL_FILE
    policy: Policy | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def limits(self, given: Limits) -> Limits:
        """The limits of its batches and queue: those given, and what the configuration says otherwise."""
        groups, batching = self.message.instance_group, self.message.dynamic_batching
        return Limits(
            rows=self.message.max_batch_size or given.rows,
            instances=sum(group.count or 1 for group in groups) or given.instances,
            delay=batching.max_queue_delay_microseconds / 1e6 or given.delay,
            capacity=batching.default_queue_policy.max_queue_size or given.capacity,
        )

    def session(self, given: SessionSettings) -> SessionSettings:
        """The settings of its sessions; LoadError where a GPU is asked for and the server has none."""
        values = {name: entry.string_value for name, entry in self.message.parameters.items()}
        threads = values.get("intra_op_thread_count", "0")
        level = self.message.optimization.graph.level
        if not threads.isdecimal() or level not in _LEVELS:
            raise LoadError(f"{CONFIG_FILE}: {threads!r} threads or graph level {level} make no sense")
        return replace(
            given,
            threads=int(threads) or given.threads,
            level=_LEVELS[level] if self.message.optimization.HasField("graph") else given.level,
            arena=values.get("enable_mem_arena", "1") != "0",
            pattern=values.get("enable_mem_pattern", "1") != "0",
            device=self._device(given),
        )

    def _device(self, given: SessionSettings) -> Any:
        kinds = {group.Kind.Name(group.kind) for group in self.message.instance_group}
        numbers = {number for group in self.message.instance_group for number in group.gpus}
        if kinds == {"KIND_CPU"}:
            return CPU
        if "KIND_GPU" in kinds or numbers:
            if given.device.is_cpu:
                raise LoadError(f"{CONFIG_FILE} asks for a GPU and the server runs on the processor; use --device cuda")
            if len(numbers) > 1:
                raise LoadError(f"{CONFIG_FILE} names GPUs {sorted(numbers)}; one model runs on one device here")
            return replace(given.device, number=numbers.pop() if numbers else given.device.number)
        return given.device

    def warmups(self) -> list[dict[str, Any]]:
        """The declared warm-ups: name, count, and shape and kind by input; LoadError for one that needs a file."""
        return [
            {
                "name": one.name,
                "count": max(1, one.count),
                "inputs": {name: self._warm_input(one, name, entry) for name, entry in one.inputs.items()},
            }
            for one in self.message.model_warmup
        ]

    def _warm_input(self, one: Any, name: str, entry: Any) -> tuple[list[int], bool]:
        if entry.WhichOneof("input_data_type") == "input_data_file":
            raise LoadError(
                f"{CONFIG_FILE}: warm-up '{one.name}' reads a file for '{name}'; say zero_data or random_data"
            )
        shape = [one.batch_size, *entry.dims] if one.batch_size and self.message.max_batch_size else list(entry.dims)
        if min(shape, default=1) < 1:
            raise LoadError(f"{CONFIG_FILE}: warm-up '{one.name}' needs sizes above 0 for '{name}', got {shape}")
        return shape, entry.WhichOneof("input_data_type") == "random_data"

    def check(self, signature: Signature) -> None:
        """Raise LoadError where the configured tensors are not those of the file."""
        batched = self.message.max_batch_size > 0
        for specs, entries, word in (
            (signature.input_specs, self.message.input, "input"),
            (signature.output_specs, self.message.output, "output"),
        ):
            for entry in entries:
                spec = specs.get(entry.name)
                if spec is None:
                    raise LoadError(f"{CONFIG_FILE} names {word} {entry.name!r}; the file has {quoted(specs)}")
                _check_entry(spec, entry, batched)
            for spec in specs.values():
                if batched and spec.dims is not None and not spec.has_batch:
                    raise LoadError(
                        f"{CONFIG_FILE} has max_batch_size {self.message.max_batch_size}, and '{spec.name}' of shape "
                        f"{spec.wire_shape} has no free first dimension; set it to 0"
                    )


def read_config(folder: Path, name: str) -> ModelSettings:
    """Read the model folder's configuration, all defaults where there is none.

    Raises LoadError where it cannot be read or asks for what is not offered.
    """
    path = folder / CONFIG_FILE
    try:
        if not path.exists():
            return ModelSettings()
        with path.open("rb") as opened:
            text = opened.read(_LARGEST + 1)
        message, notes = _parse(text.decode())
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise LoadError(f"{CONFIG_FILE} cannot be read: {type(error).__name__}") from None
    if len(text) > _LARGEST:
        raise LoadError(f"{CONFIG_FILE} is larger than {_LARGEST} bytes")
    if message.name not in ("", name):
        raise LoadError(f"{CONFIG_FILE} is of model {message.name!r}, its folder is {name!r}")
    if message.backend not in _BACKENDS or message.platform not in _BACKENDS:
        raise LoadError(f"{CONFIG_FILE} asks for {message.backend or message.platform!r}; this server runs onnxruntime")
    for chosen in ("sequence_batching", "ensemble_scheduling"):
        if message.HasField(chosen):
            raise LoadError(f"{CONFIG_FILE} asks for {chosen}, which this server does not offer")
    file = message.default_model_filename or MODEL_FILE
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}", file):
        raise LoadError(f"{CONFIG_FILE}: default_model_filename {file[:80]!r} is no plain file name")
    return ModelSettings(message, file, _policy(message), _labels(message), tuple(notes + _unused(message)))


def _parse(text: str) -> tuple[Any, list[str]]:
    try:
        return text_format.Parse(text, _ModelConfig()), []
    except text_format.ParseError as error:
        first = error
    try:
        return text_format.Parse(text, _ModelConfig(), allow_unknown_field=True), [f"not known: {first}"]
    except text_format.ParseError as error:
        raise LoadError(f"{CONFIG_FILE} cannot be read: {error}") from None


def _unused(message: Any) -> list[str]:
    names = [field.name for field, _ in message.ListFields() if field.name not in _USED]
    names += [f"parameters['{name}']" for name in message.parameters if name not in _PARAMETERS]
    names += [f"optimization.{part.name}" for part, _ in message.optimization.ListFields() if part.name != "graph"]
    return [f"not followed: {name}" for name in names]


def _policy(message: Any) -> Policy | None:
    chosen = message.version_policy.WhichOneof("policy_choice")
    if chosen == "latest":
        return Policy(message.version_policy.latest.num_versions or 1)
    if chosen == "specific":
        return Policy(None, frozenset(message.version_policy.specific.versions))
    return ALL if chosen == "all" else None


def _labels(message: Any) -> dict[str, int]:
    if "version_labels" not in message.parameters:
        return {}
    try:
        told = json.loads(message.parameters["version_labels"].string_value)
        labels = {str(label): int(number) for label, number in told.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise LoadError(f'{CONFIG_FILE}: version_labels is not of the form {{"stable": 3}}') from None
    for label in labels:
        check_label(label)
    return labels


def check_label(label: str) -> None:
    """Raise LoadError for a label that could be a version or no word."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}", label):
        raise LoadError(f"version label {label!r} is no word that starts with a letter")


def _check_entry(spec: TensorSpec, entry: Any, batched: bool) -> None:
    if entry.data_type not in (0, spec.datatype.config_number):
        raise LoadError(f"{CONFIG_FILE} gives '{spec.name}' data type {entry.data_type}, the file {spec.datatype.name}")
    shape = [-1, *entry.dims] if batched else list(entry.dims)
    if spec.dims is None or not entry.dims or entry.HasField("reshape"):
        return
    fits = len(shape) == len(spec.dims) and all(
        size == there or there == -1 for size, there in zip(shape, spec.wire_shape, strict=True)
    )
    if not fits:
        raise LoadError(f"{CONFIG_FILE} gives '{spec.name}' shape {shape}, the file {spec.wire_shape}")
