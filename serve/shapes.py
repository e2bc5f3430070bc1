"""Shapes of a request against the declared ones, and answers to requests of zero rows.

A zero-sized tensor reaches the runtime only where a trial in another process went well: onnxruntime
1.32 ends the whole process on some operators with a batch of zero. Zero rows are answered from the
declared shapes alone.
"""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence

from serve.errors import InvalidArgumentError
from serve.signatures import Dimension, Signature, TensorSpec

MOST_AXES = 64

#: Size of each named dimension, with the input that fixed it and the axis there.
Bound = dict[str, tuple[int, str, int]]

_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def shape_text(sizes: Sequence[int]) -> str:
    """Return `[-1,3]`."""
    return f"[{','.join(str(size) for size in sizes)}]"


def check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    """Check one input's shape by itself.

    Raises InvalidArgumentError with the input, the expected and the given shape.
    """
    if shape and min(shape) < 0:
        raise InvalidArgumentError(
            f"input '{spec.name}': the shape of a request holds actual sizes, none below 0; "
            f"expected {_expected(spec)}, got {shape_text(shape)}"
        )
    if spec.dims is None:
        if len(shape) > MOST_AXES:
            raise InvalidArgumentError(
                f"input '{spec.name}': at most {MOST_AXES} dimensions can be read, got {len(shape)}"
            )
        return
    if len(shape) != len(spec.dims):
        raise InvalidArgumentError(
            f"input '{spec.name}': expected {len(spec.dims)} dimensions {_expected(spec)}, "
            f"got {len(shape)} {shape_text(shape)}; ModelMetadata tells the shapes"
        )
    for axis, (size, expected) in enumerate(zip(shape, spec.dims, strict=True)):
        if isinstance(expected, int) and size != expected:
            raise InvalidArgumentError(
                f"input '{spec.name}': expected shape {_expected(spec)}, "
                f"got {shape_text(shape)} (axis {axis} is {size}, not {expected}); ModelMetadata tells the shapes"
            )


def bind_sizes(signature: Signature, shapes: Mapping[str, tuple[int, ...]]) -> Bound:
    """Return the size of each named dimension, from shapes that passed `check_shape`.

    Raises InvalidArgumentError naming both inputs where one name has two sizes.
    """
    bound: Bound = {}
    for expected, name, axis in signature.named_axes:
        here = (shapes[name][axis], name, axis)
        first = bound.setdefault(expected, here)
        if first[0] != here[0]:
            raise InvalidArgumentError(_disagreement(expected, first, here))
    return bound


def has_zero_rows(signature: Signature, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether the request has zero rows that are answered without the runtime.

    False where there is no zero, or where a trial has shown that the runtime survives these ones and
    the answer cannot be had otherwise. Raises InvalidArgumentError for any other zero, and where one
    input has rows and another has none.
    """
    for shape in shapes.values():
        if 0 in shape:
            break
    else:
        return False
    zeros = frozenset((name, axis) for name, shape in shapes.items() for axis, size in enumerate(shape) if size == 0)
    batched = [name for name in shapes if signature.input_specs[name].has_batch]
    if zeros in signature.zero_sets and not (
        zeros == {(name, 0) for name in batched} and all(spec.has_batch for spec in signature.outputs)
    ):
        return False
    empty = [name for name in batched if shapes[name][0] == 0]
    for name, shape in shapes.items():
        if 0 in shape and name not in empty:
            raise InvalidArgumentError(
                f"input '{name}': only the first dimension may be 0 (a request of zero rows) and "
                f"only if it is declared free; expected {_expected(signature.input_specs[name])}, "
                f"got {shape_text(shape)}"
            )
    for name in batched:
        if name not in empty:
            raise InvalidArgumentError(
                f"batch of {empty[0]} is 0, of {name} is {shapes[name][0]}: send the same number of rows in every input"
            )
    return True


def zero_row_shape(spec: TensorSpec, bound: Bound) -> tuple[int, ...]:
    """Return the shape of an output for zero rows: 0 first, then declared or bound sizes.

    A free dimension that no input fixes, directly or as `2 * t` and the like, is 0.
    Raises InvalidArgumentError where the output has no free first dimension, so that its value
    is not known without running the model.
    """
    if spec.dims is None or not spec.has_batch:
        raise InvalidArgumentError(
            f"zero rows: output '{spec.name}' of shape {_expected(spec)} has no batch dimension, "
            "so nothing can be answered for it; send at least one row or ask for other outputs"
        )
    sizes = {name: size for name, (size, _, _) in bound.items()}
    return (0, *(_size(dimension, sizes) for dimension in spec.dims[1:]))


def _expected(spec: TensorSpec) -> str:
    return "of any shape" if spec.dims is None else shape_text(spec.wire_shape)


def _disagreement(name: str, first: tuple[int, str, int], second: tuple[int, str, int]) -> str:
    word = "batch" if first[2] == 0 and second[2] == 0 else f"'{name}'"
    return (
        f"{word} of {first[1]} is {first[0]}, of {second[1]} is {second[0]}: axis {first[2]} of "
        f"input '{first[1]}' and axis {second[2]} of input '{second[1]}' must be equal"
    )


def _size(dimension: Dimension, sizes: Mapping[str, int]) -> int:
    if isinstance(dimension, int):
        return dimension
    if dimension is None:
        return 0
    if dimension in sizes:
        return sizes[dimension]
    try:
        return max(0, _evaluate(ast.parse(dimension, mode="eval").body, sizes))
    except (SyntaxError, LookupError, ZeroDivisionError, RecursionError, ValueError):
        return 0


def _evaluate(node: ast.expr, sizes: Mapping[str, int]) -> int:
    """Return the value of `(t + 1) // 2`; LookupError for whatever is not known arithmetic."""
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return sizes[name]
        case ast.BinOp(left=left, op=sign, right=right):
            return _ARITHMETIC[type(sign)](_evaluate(left, sizes), _evaluate(right, sizes))
        case _:
            raise LookupError(ast.dump(node))
