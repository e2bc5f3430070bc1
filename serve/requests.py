"""A ModelInferRequest to arrays under a signature: every check, before any work.

Names come first, then each input by itself (datatype, shape, contents), then the inputs together
(sizes that must agree, zero rows), then ids.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from serve.errors import InvalidArgumentError
from serve.shapes import bind_sizes, check_shape, has_zero_rows, zero_row_shape
from serve.signatures import Signature, TensorSpec, quoted
from serve.tensors import Array, decode_raw, decode_typed

#: The parameters that have a meaning in the protocol, and the choices each may be sent as.
_PARAMETER_CHOICES = {
    "signature_name": ("string_param",),
    "sequence_id": ("int64_param", "uint64_param", "string_param"),
    "sequence_start": ("bool_param",),
    "sequence_end": ("bool_param",),
    "priority": ("int64_param", "uint64_param"),
    "timeout": ("int64_param",),
}


class Decoded(NamedTuple):
    """A checked request: arrays by input name and the wanted outputs in the order of the answer.

    `answer` is already there for a request of zero rows, else None. `trailing` are the shapes less
    the rows, None where the inputs have no common number of rows; `rows` is 1 then.
    """

    arrays: dict[str, Array]
    outputs: list[TensorSpec]
    answer: list[Array] | None
    rows: int
    trailing: tuple[tuple[int, ...], ...] | None


def decode(request: Any, signature: Signature, raws: Sequence[memoryview] = ()) -> Decoded:
    """Check a ModelInferRequest message against the signature and read its tensors.

    `raws` are its raw_input_contents where they came beside it.

    Raises InvalidArgumentError naming the input or output, what was expected and what came.
    """
    outputs = _wanted_outputs(request, signature)
    inputs = list(request.inputs)
    names = [given.name for given in inputs]
    if names != signature.input_names:
        _check_names(names, signature)
    contents = _raw_contents(request, inputs, raws)
    arrays: dict[str, Array] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for position, (name, given) in enumerate(zip(names, inputs, strict=True)):
        spec = signature.input_specs[name]
        shape = tuple(given.shape)
        _check_datatype(spec, given.datatype)
        check_shape(spec, shape)
        if contents:
            array = decode_raw(name, spec.datatype, shape, contents[position])
        else:
            array = decode_typed(name, spec.datatype, shape, given.contents)
        arrays[name], shapes[name] = array, shape
    bound = bind_sizes(signature, shapes)
    if has_zero_rows(signature, shapes):
        answer = [np.empty(zero_row_shape(spec, bound), spec.datatype.numpy) for spec in outputs]
        return Decoded(arrays, outputs, answer, 0, None)
    for name, (low, beyond) in signature.id_ranges.items():
        _check_ids(name, arrays[name], low, beyond)
    return Decoded(arrays, outputs, None, *_rows(signature, shapes))


def check_parameters(request: Any) -> None:
    """Check that a parameter with a meaning is sent as its own type; others may be anything.

    Raises InvalidArgumentError naming the parameter, the expected and the given choice.
    """
    if not request.parameters:
        return
    for name, choices in _PARAMETER_CHOICES.items():
        if name in request.parameters:
            choice = request.parameters[name].WhichOneof("parameter_choice")
            if choice not in choices:
                raise InvalidArgumentError(f"parameter '{name}' is expected as {' or '.join(choices)}, got {choice}")
    if "sequence_start" in request.parameters and "sequence_id" not in request.parameters:
        raise InvalidArgumentError("parameter 'sequence_start' needs 'sequence_id' with it")


def _rows(signature: Signature, shapes: dict[str, tuple[int, ...]]) -> tuple[int, tuple[tuple[int, ...], ...] | None]:
    if not (signature.inputs and signature.all_have_batch):
        return 1, None
    given = [shapes[name] for name in signature.input_names]
    rows = given[0][0]
    for shape in given:
        if shape[0] != rows:
            return 1, None
    return rows, tuple([shape[1:] for shape in given])


def _wanted_outputs(request: Any, signature: Signature) -> list[TensorSpec]:
    if not request.outputs:
        return list(signature.outputs)
    wanted: dict[str, TensorSpec] = {}
    for output in request.outputs:
        name = output.name
        spec = signature.output_specs.get(name)
        if spec is None:
            raise InvalidArgumentError(
                f"unexpected inference output {name!r}: the outputs are {quoted(signature.output_specs)} "
                "(ModelMetadata)"
            )
        if name in wanted:
            raise InvalidArgumentError(f"output '{name}' is requested twice; name it once")
        if "classification" in output.parameters:
            raise InvalidArgumentError(
                f"output '{name}': classification is not offered; take the highest values of the output itself"
            )
        wanted[name] = spec
    return list(wanted.values())


def _check_names(names: list[str], signature: Signature) -> None:
    specs = signature.input_specs
    for name in names:
        if name not in specs:
            raise InvalidArgumentError(
                f"unexpected inference input {name!r}: the inputs are {quoted(specs)} (ModelMetadata)"
            )
    if len(names) == len(specs) == len(set(names)):
        return
    for name in specs:
        if names.count(name) > 1:
            raise InvalidArgumentError(f"input '{name}' is given twice; give it once")
    missing = [name for name in specs if name not in names]
    raise InvalidArgumentError(
        f"expected {len(specs)} inputs but got {len(names)}: missing {quoted(missing)} (ModelMetadata)"
    )


def _raw_contents(request: Any, inputs: list[Any], beside: Sequence[memoryview]) -> Sequence[bytes | memoryview]:
    raws: Sequence[bytes | memoryview] = beside or list(request.raw_input_contents)
    if not raws:
        return raws
    for given in inputs:
        if given.HasField("contents") and given.contents.ByteSize():
            raise InvalidArgumentError(
                f"input '{given.name}' has typed contents although the request has "
                "raw_input_contents; send every input one way"
            )
    if len(raws) != len(inputs):
        names = [given.name for given in inputs]
        raise InvalidArgumentError(
            f"expected {len(inputs)} entries of raw_input_contents, one for each of "
            f"{quoted(names)} in this order, got {len(raws)}"
        )
    return raws


def _check_datatype(spec: TensorSpec, given: str) -> None:
    if given != spec.datatype.name:
        raise InvalidArgumentError(f"input '{spec.name}': expected datatype {spec.datatype.name}, got {given!r}")


def _check_ids(name: str, array: Array, low: int, beyond: int) -> None:
    if not array.size or (low <= array.min() and array.max() < beyond):
        return
    position = np.argwhere((array < low) | (array >= beyond))[0].tolist()
    row = f"row {position[0]}" if position else "a scalar"
    raise InvalidArgumentError(
        f"input '{name}': id {array[tuple(position)]} in {row} (position {position}) is outside "
        f"the valid range [{low}, {beyond})"
    )
