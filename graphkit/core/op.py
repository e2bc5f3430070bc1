"""The op, the value and the one door between them.

An op has four faces: `infer` (specs to specs), `forward` (arrays to arrays), `vjp` (a formula over ops) and
`lower` (ONNX nodes). Arrays are positional inputs; what is not an array is a frozen field of the op, so ops are
hashable and a traced value can never hide in one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from inspect import get_annotations
from typing import Any, ClassVar, Protocol, dataclass_transform

import numpy as np

from graphkit.core.context import current
from graphkit.core.dimension import Dimension, Size, evaluate
from graphkit.core.dtypes import Array, is_text
from graphkit.core.errors import DtypeError, ExportError, GradientError
from graphkit.core.pieces import Call, Stages, at_once, lined_up
from graphkit.core.spec import Spec, show


class Value:
    """Anything an op takes or gives that has a spec: a tensor, a symbol, a variable.

    `mask` is a boolean value of the first two axes, True where a step counts, or None.
    `origin` is a variable that an eager value was computed from.
    `interpreter` says who reads an op call with this value in it; None means: evaluate.
    """

    spec: Spec
    mask: Value | None = None
    origin: Any = None
    interpreter: Any = None
    __array_ufunc__ = None

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes; None for one that is free, whose name stands in `spec.dims`."""
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype."""
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self.spec.rank


class Interpreter(Protocol):
    """Reads an op call: gives back the inputs as it saw them, and all outputs, private ones too."""

    def process(self, op: Op, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Value, ...]]: ...


class Builder(Protocol):
    """What `lower` may ask of the exporter; names are ONNX value names."""

    opset: int

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None: ...

    def emit(self, kind: str, *inputs: str, **attributes: Any) -> str: ...

    def constant(self, value: Any, dtype: Any = None) -> str: ...

    def sizes(self, dims: Sequence[Size]) -> str: ...

    def spec(self, name: str) -> Spec: ...

    def typed(self, name: str, spec: Spec) -> str: ...

    def born(self, size: str, name: str, axis: int) -> None: ...

    def fresh(self, hint: str) -> str: ...

    def packed(self, name: str, function: Callable[[Array], Array]) -> str | None: ...

    def inline(self, function: Callable[..., Any], inputs: Sequence[str], outputs: Sequence[str]) -> None: ...

    def body(
        self, function: Callable[..., Any], outer: Sequence[str], inner: Sequence[Spec]
    ) -> tuple[Any, list[Spec]]: ...


def _no_scratch(op: Any, *specs: Spec) -> tuple[Spec, ...]:
    return ()


@cache
def field_names(kind: Any) -> tuple[str, ...]:
    """The annotated fields of an op's class, base classes first."""
    found: dict[str, None] = {}
    for base in reversed(kind.__mro__):
        for name, note in get_annotations(base).items():
            if not str(note).startswith("ClassVar"):
                found[name] = None
    return tuple(found)


class Bindable:
    """What has sizes in its fields that may be names; `bind` puts numbers for them."""

    @property
    def free(self) -> bool:
        """Whether a field holds a size that is not known yet."""
        return any(map(_free, vars(self).values()))

    def bind(self, sizes: Mapping[str, int]) -> Any:
        """The same thing with numbers for the names in its sizes."""
        return type(self)(*(_bound(value, sizes) for value in vars(self).values())) if self.free else self


@dataclass_transform(frozen_default=True)
class Op(Bindable):
    """One operation, its attributes as frozen fields: annotate them, and the constructor takes them in order.

    outputs: how many outputs the caller sees; those behind them are private residuals for the gradient.
    overwrites: the inputs whose buffer `forward` may be given as `out`.
    unread: the inputs of which `forward` needs the sizes alone.
    view: the output may share its input's memory, so a plan takes no buffer for it.
    elementwise: output element i depends on input elements i alone, so `forward` may run piece by piece.
    random: True where two calls give different numbers, so a call is never merged or folded.
    effect: True where the call itself is wanted, not what it gives: printing.
    sizes_only: only the sizes of the inputs matter, not their numbers.
    differentiable: False where a gradient is zero by definition (comparisons, integers).
    data_sized: True where the sizes of what it gives follow from the numbers, so no plan can be made before these.
    takes_text: whether text may go in; elsewhere it is an error.
    effort: how many additions of two floats an element takes, about.
    """

    onnx_type: ClassVar[str] = ""
    overwrites: ClassVar[tuple[int, ...]] = ()
    unread: ClassVar[tuple[int, ...]] = ()
    view: ClassVar[bool] = False
    elementwise: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    random: ClassVar[bool] = False
    effect: ClassVar[bool] = False
    sizes_only: ClassVar[bool] = False
    data_sized: ClassVar[bool] = False
    takes_text: ClassVar[bool] = False
    effort: ClassVar[int] = 1

    def __init__(self, *values: Any, **named: Any) -> None:
        kind: Any = type(self)
        names = field_names(kind)
        given = dict(zip(names, values, strict=False), **named)
        lacking = [n for n in names if n not in given and not hasattr(type(self), n)]
        if lacking or len(values) > len(names) or not set(given) <= set(names):
            raise TypeError(f"{type(self).__name__} takes {', '.join(names) or 'no fields'}; got {values} {named}")
        vars(self).update({n: given[n] if n in given else getattr(type(self), n) for n in names})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    @property
    def values(self) -> tuple[Any, ...]:
        """The fields' values in order."""
        return tuple(vars(self).values())

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.values))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in vars(self).items())})"

    @property
    def outputs(self) -> int:
        return 1

    @property
    def name(self) -> str:
        return type(self).__name__

    infer: ClassVar[Callable[..., Any]]
    """infer(*specs): the specs of all outputs, one alone or a tuple; raises ShapeError or DtypeError."""

    forward: ClassVar[Callable[..., Any]]
    """forward(*arrays, out=None): NumPy, pure; fills `out` (an array, or one for each output) where it is given."""

    scratch: ClassVar[Callable[..., tuple[Spec, ...]]] = _no_scratch
    """scratch(*specs): buffers `forward` needs while it runs, given to it as `scratch=`."""

    def prepare(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Callable[[], Any]:
        """A call of `forward` bound to its arrays, what a plan runs; a kernel may make its views here, once."""
        extra = {"scratch": scratch} if scratch else {}
        return partial(self.forward, *ins, out=out, **extra)

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        """For each input whether row i of the outputs needs its row i alone, not all of it; None where rows meet."""
        return lined_up(out, ins) if self.elementwise else None

    def work(self, out: Array, *ins: Array) -> int:
        """About how many additions of two floats a call takes as long as."""
        return self.effort * max((a.size for a in (out, *ins)), default=0)

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        """The same call in stages, each of pieces that may run in any order at the same time."""
        return [[self.prepare(ins, out, scratch)]]

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        """One cotangent for each input, as ops over values; None where an input has no gradient."""
        raise GradientError(f"{self.name} has no gradient")

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        """Writes the ONNX nodes that compute `outs` from `ins`."""
        if not self.onnx_type:
            raise ExportError(f"{self.name} has no ONNX form")
        b.node(self.onnx_type, ins, outs)

    def call(self, *inputs: Any) -> tuple[Any, ...]:
        """What replaying a recorded call does: all outputs, private ones too; a layer's call overrides it."""
        return apply_all(self, *inputs)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        """The mask of the output: the masks of the inputs whose first two axes the output keeps."""
        found: Value | None = None
        for value in ins:
            mask = getattr(value, "mask", None)
            if mask is not None and out.ndim >= 2 and value.spec.dims[:2] == out.spec.dims[:2]:
                found = mask if found is None or found is mask else found & mask
        return found


class Staged(Op):
    """An op whose kernel is what `stages` gives, also where it runs at once."""

    def prepare(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Call:
        return at_once(self.stages(ins, out, scratch))

    def forward(self, *ins: Array, out: Any = None, scratch: Any = None) -> Any:
        specs = [*map(spec_of, ins)]
        if out is None:
            found = self.infer(*specs)
            out = tuple(s.empty() for s in found) if isinstance(found, tuple) else found.empty()
        self.prepare(ins, out, tuple(s.empty() for s in self.scratch(*specs)) if scratch is None else scratch)()
        return out


class Body(Bindable):
    """A function of values that an op holds as a field; sizes within it are bound as the op's own are."""


def _free(value: Any) -> bool:
    if isinstance(value, Bindable):
        return value.free
    return isinstance(value, Dimension) or (isinstance(value, tuple) and any(isinstance(v, Dimension) for v in value))


def _bound(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, Dimension):
        return evaluate(value, sizes)
    if isinstance(value, tuple) and any(isinstance(v, Dimension) for v in value):
        return tuple(evaluate(v, sizes) if isinstance(v, Dimension) else v for v in value)
    return value.bind(sizes) if isinstance(value, Bindable) else value


def spec_of(value: Any) -> Spec:
    """The spec of a value or a plain array."""
    if isinstance(value, Value):
        return value.spec
    return Spec(value.shape, value.dtype)


def infer_all(op: Op, specs: Sequence[Spec]) -> tuple[Spec, ...]:
    """`infer` with its answer always a tuple. DtypeError for text where numbers are wanted."""
    if not op.takes_text:
        for spec in specs:
            if is_text(spec.dtype):
                raise DtypeError(f"{op.name} takes numbers, got text of shape {show(spec.dims)}; look it up first")
    found = op.infer(*specs)
    return (found,) if isinstance(found, Spec) else tuple(found)


def _interpreter(op: Op, inputs: Sequence[Any], trace: Any) -> Interpreter:
    symbolic = None
    for value in inputs:
        if isinstance(value, Value):
            if value.interpreter is not None:
                symbolic = value.interpreter
            elif trace is not None and value.interpreter is None and getattr(value, "is_variable", False):
                symbolic = trace
    if symbolic is None:
        all_values = getattr(trace, "takes_all", False) and any(isinstance(value, Value) for value in inputs)
        return trace if trace is not None and (op.free or all_values) else EAGER
    return trace if trace is not None else symbolic  # type: ignore[no-any-return] # both are Interpreters


def apply(op: Op, *inputs: Any) -> Any:
    """The one door: runs, notes or records a call of `op`, as its inputs say.

    Plain arrays and eager values evaluate; a live tape notes the call; a symbol records a node.
    Gives the public outputs: one value, or a tuple where the op has several.
    """
    outs = apply_all(op, *inputs)
    return outs[0] if op.outputs == 1 else outs[: op.outputs]


def apply_all(op: Op, *inputs: Any) -> tuple[Value, ...]:
    """The same with all outputs, the private ones behind."""
    context = current()
    ins, outs = _interpreter(op, inputs, context.trace).process(op, inputs)
    for recorder in context.recorders:
        recorder.note(op, ins, outs)
    if context.masks and any(getattr(value, "mask", None) is not None for value in ins):
        for value in outs[: op.outputs]:
            value.mask = op.mask(ins, value)
    return outs


def run_forward(op: Op, arrays: Sequence[Array]) -> tuple[Array, ...]:
    """Checks the specs, then runs the kernel into fresh arrays; all outputs, private ones too."""
    specs = [Spec(a.shape, a.dtype) for a in arrays]
    infer_all(op, specs)
    with np.errstate(all="ignore"):
        return run_kernel(op, arrays, specs)


def run_kernel(op: Op, arrays: Sequence[Array], specs: Sequence[Spec]) -> tuple[Array, ...]:
    """`forward` on arrays of these specs, with scratch where it needs some; its answer always a tuple."""
    scratch = tuple(s.empty() for s in op.scratch(*specs))
    results = op.forward(*arrays, scratch=scratch) if scratch else op.forward(*arrays)
    return results if isinstance(results, tuple) else (results,)


def origin_of(value: Any) -> Any:
    """The variable that an eager value was read or computed from; None where there is none."""
    variable = getattr(value, "variable", None)
    return getattr(value, "origin", None) if variable is None else variable


def _shared(value: Any) -> bool:
    """Whether the memory behind an input may change: a person's own array, or a variable's."""
    return not isinstance(value, Value) or getattr(value, "variable", None) is not None


class Eager:
    """Evaluates at once. `tensor` makes the results; `ops.operators`, which stands above, names it."""

    def __init__(self) -> None:
        self.tensor: Callable[[Array], Value] | None = None

    def process(self, op: Op, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Value, ...]]:
        assert self.tensor is not None
        ins = tuple(value.read() if getattr(value, "is_variable", False) else value for value in inputs)
        arrays = [value.array if isinstance(value, Value) else value for value in ins]  # type: ignore[attr-defined] # eager values hold one
        results = run_forward(op, arrays)
        if op.view and any(_shared(value) for value in ins):
            results = tuple(np.array(r) for r in results)
        outs = tuple(self.tensor(np.asarray(r)) for r in results)
        origin = next((o for value in ins if (o := origin_of(value)) is not None), None)
        if origin is not None:
            for value in outs:
                value.origin = origin
        return ins, outs


EAGER = Eager()


class Specs:
    """Reads an op call for its specs alone. `placeholder` makes the results; named as `Eager.tensor` is."""

    may_create = False

    def __init__(self) -> None:
        self.placeholder: Callable[[Spec], Value] = Value  # type: ignore[assignment] # replaced by graphkit.ops

    def process(self, op: Op, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Value, ...]]:
        return tuple(inputs), tuple(map(self.placeholder, infer_all(op, [spec_of(x) for x in inputs])))


SPECS = Specs()
