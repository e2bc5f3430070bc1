"""Convolution and pooling beyond the table: nothing is allocated, weights are packed, no rows, small images."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest

from graphkit import Input, Model, layers, ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import Op, spec_of
from graphkit.export.convert import convert
from graphkit.ops import correlate, im2col, pool
from graphkit.ops.conv import Conv, ConvInputGradient, Convolving, ConvWeightGradient
from graphkit.ops.pool import AveragePool, AveragePoolGradient, MaxPool, MaxPoolGradient, MaxPoolPick, Pooling
from tests.ops import harness
from tests.ops.cases import OTHERS
from tests.ops.cases.conv import CASES as CONVS
from tests.ops.cases.pool import CASES as POOLS
from tests.ops.test_onnx import answers, loaded

# NumPy's ufuncs have a buffer of 8,192 elements for each operand of a strided call; nothing is made beside it.
MOST_BYTES = 3 * 4 * 8192 + (1 << 14)

FORMS: tuple[tuple[tuple[int, ...], tuple[int, ...], int, str, int, int], ...] = (
    ((17, 29, 31, 3), (3, 3, 3, 19), 1, "same", 1, 1),
    ((17, 29, 31, 3), (2, 3, 3, 2), 1, "valid", 2, 1),
    ((17, 29, 31, 2), (3, 3, 2, 19), 2, "same", 1, 1),
    ((17, 29, 31, 19), (3, 3, 19, 2), 1, "same", 1, 1),
    ((17, 29, 31, 1), (3, 3, 1, 23), 2, "same", 1, 1),
    ((17, 29, 31, 23), (1, 1, 23, 19), 1, "same", 1, 1),
    ((17, 29, 31, 23), (3, 3, 1, 46), 1, "same", 1, 23),
    ((17, 29, 31, 6), (3, 3, 3, 22), 2, "same", 1, 2),
    ((2, 211, 223, 3), (3, 3, 3, 19), 1, "same", 1, 1),
    ((17, 997, 19), (3, 19, 23), 1, "causal", 2, 1),
)


def _peak(op: Op, *arrays: np.ndarray) -> int:
    """How many bytes the bound call allocates at once, beside the buffers that a plan hands it."""
    specs = [spec_of(a) for a in arrays]
    scratch = tuple(np.empty(s.numbers, s.dtype) for s in op.scratch(*specs))
    made = op.infer(*specs)
    call = op.prepare(arrays, np.empty(made.numbers, made.dtype), scratch)
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("x", "w", "stride", "padding", "dilation", "groups"), FORMS)
def test_convolutions_make_no_arrays(
    x: Any, w: Any, stride: int, padding: str, dilation: int, groups: int, rng: np.random.Generator
) -> None:
    axes = len(x) - 2
    form = ((stride,) * axes, padding, (dilation,) * axes, groups)
    values, kernel = (rng.normal(size=s).astype(np.float32) for s in (x, w))
    g = rng.normal(size=Conv(*form).infer(spec_of(values), spec_of(kernel)).numbers).astype(np.float32)
    assert _peak(Conv(*form), values, kernel) < MOST_BYTES
    assert _peak(ConvInputGradient(*form, x[1:-1]), g, kernel) < MOST_BYTES
    assert _peak(ConvWeightGradient(*form, w[:axes]), values, g) < MOST_BYTES


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pooling_makes_no_arrays(padding: str, rng: np.random.Generator) -> None:
    form = ((2, 3), (2, 2), padding)
    x = rng.normal(size=(17, 61, 67, 3)).astype(np.float32)
    y = np.asarray(ops.max_pool(x, (2, 3), 2, padding))
    g = rng.normal(size=y.shape).astype(np.float32)
    for op, arrays in (
        (MaxPool(*form), (x,)),
        (MaxPoolGradient(*form), (g, x, y)),
        (MaxPoolPick(*form), (x, x, y)),
        (AveragePool(*form), (x,)),
        (AveragePoolGradient(*form, (61, 67)), (g,)),
    ):
        assert _peak(op, *arrays) < MOST_BYTES, op


@pytest.mark.parametrize("case", [*CONVS, *POOLS], ids=lambda c: c.name)
def test_blocks_of_any_size_give_the_same(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few lines of one image at a time, as for large images, against all images at once."""
    want = [outs for _, _, outs in harness.calls(case, OTHERS, "float64")]
    for size in (1, 3000):
        correlate.convolution.cache_clear()
        monkeypatch.setattr(im2col, "BLOCK", size)
        monkeypatch.setattr(correlate, "BLOCK", size)
        monkeypatch.setattr(pool, "BLOCK", size)
        for (op, _, got), wanted in zip(harness.calls(case, OTHERS, "float64"), want, strict=True):
            for g, w in zip(got, wanted, strict=True):
                harness.close(g, w, 1e-13, str(op))
    correlate.convolution.cache_clear()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", [*CONVS, *POOLS], ids=lambda c: c.name)
def test_a_bound_call_reads_its_arrays_anew_and_finds_scratch_as_it_is(case: Any, turned: bool) -> None:
    """As in a plan: other numbers at each run, in memory that other ops wrote over; also where inputs are views."""
    for op, ins, outs in harness.calls(case, OTHERS, "float64"):
        if not isinstance(op, Convolving | Pooling):
            continue
        arrays = [np.full(np.shape(a)[::-1], np.nan).T if turned else np.full(np.shape(a), np.nan) for a in ins]
        scratch = tuple(np.empty(s.numbers, s.dtype) for s in op.scratch(*map(spec_of, arrays)))
        made = np.empty(np.asarray(outs[0]).shape)
        call = op.prepare(arrays, made, scratch)
        for _ in range(2):
            for array, given in zip(arrays, ins, strict=True):
                array[...] = given
            for buffer in scratch:
                buffer.fill(True if buffer.dtype == bool else np.nan)
            made.fill(np.nan)
            call()
            harness.close(made, np.asarray(outs[0]), 1e-13, str(op))
            for array in arrays:
                array.fill(np.nan)


def test_weights_are_initializers() -> None:
    """A kernel held by a variable is turned once, at the export, forward and transposed."""
    model = Model(x := Input((None, None, 3), name="x"), layers.Conv2DTranspose(2, 3)(layers.Conv2D(7, 3)(x)))
    graph = harness.trace(lambda v: model(v), [x.spec])[0]
    names = {id(w): w.path for w in model.weights}
    proto = convert(graph, ["in0"], ["out0"], 20, names).proto
    assert sum(n.op_type == "Transpose" for n in proto.graph.node) == 2
    assert sum(i.name.endswith("kernel") for i in proto.graph.initializer) == 2
    image = np.random.default_rng(1).normal(size=(2, 11, 13, 3)).astype(np.float32)
    harness.close(answers(loaded(graph, 20, names), [image])[0], np.asarray(model(image)), 2e-6, "both")


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_an_encoder_and_decoder_is_verified(padding: str, tmp_path: Any) -> None:
    """The export's own comparison passes at sizes that the windows fit into."""
    x = image = Input((None, None, 3), name="x")
    for layer in (
        layers.Conv2D(7, 3, 2, padding), layers.MaxPooling2D(2, 1, padding), layers.AveragePooling2D(2, 1, padding),
        layers.DepthwiseConv2D(2, padding=padding), layers.UpSampling2D(2, interpolation="bilinear"),
        layers.ZeroPadding2D(1), layers.Conv2DTranspose(3, 3, 2, padding), layers.Cropping2D(1),
    ):  # fmt: skip
        x = layer(x)
    Model(image, x).export(tmp_path / "model.onnx")


CHILD = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
found = session.run(None, {"x": np.zeros((0, 17, 19, 2), np.float32)})
print([f.shape for f in found])
"""

STACKS: tuple[tuple[str, Callable[[Any], Any], str], ...] = (
    ("conv", lambda x: layers.Conv2D(3, 3, 2, "same")(x), "[(0, 9, 10, 3)]"),
    ("groups", lambda x: layers.Conv2D(4, 3, groups=2)(x), "[(0, 15, 17, 4)]"),
    ("transpose", lambda x: layers.Conv2DTranspose(3, 3, 2, "same")(x), "[(0, 34, 38, 3)]"),
    ("max", lambda x: layers.MaxPooling2D(padding="same")(x), "[(0, 9, 10, 2)]"),
    ("average", lambda x: layers.AveragePooling2D(padding="same")(x), "[(0, 9, 10, 2)]"),
    ("global", lambda x: layers.GlobalAveragePooling2D()(x), "[(0, 2)]"),
)


@pytest.mark.parametrize(("name", "stack", "shapes"), STACKS, ids=[s[0] for s in STACKS])
def test_no_rows_end_no_process(name: str, stack: Callable[[Any], Any], shapes: str, tmp_path: Any) -> None:
    x = Input((None, None, 2), name="x")
    model = Model(x, stack(x))
    model.export(tmp_path / "model.onnx", verify=False)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "model.onnx")], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == shapes
    assert np.asarray(model(np.zeros((0, 17, 19, 2), np.float32))).shape[0] == 0


def test_fixed_and_free_images(tmp_path: Any) -> None:
    """A fixed Input names itself and both shapes; a free one takes any size that the kernel fits into."""

    def built(size: int | None) -> Model:
        image = Input((size, size, 1), name="img")
        return Model(image, layers.Conv2D(1, 3, kernel_initializer="ones", use_bias=False, name="look")(image))

    with pytest.raises(ShapeError, match=r"img.*\(1, 20, 20, 1\).*\(None, 10, 10, 1\)"):
        built(10)(np.ones((1, 20, 20, 1), np.float32))
    model = built(None)
    model.export(tmp_path / "free.onnx", verify=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "free.onnx"), providers=["CPUExecutionProvider"])
    for size in (10, 20, 3):
        image = np.ones((1, size, size, 1), np.float32)
        for found in (np.asarray(model(image)), model.predict(image, verbose=0), session.run(None, {"img": image})[0]):
            harness.same(found, np.full((1, size - 2, size - 2, 1), 9, np.float32), f"size {size}")
    for call in (model, lambda x: model.predict(x, verbose=0)):
        with pytest.raises(ShapeError, match=r"look: .*\(3, 3\) does not fit into \(2, 2\)"):
            call(np.ones((1, 2, 2, 1), np.float32))


def test_declared_sizes_are_true(tmp_path: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Sizes that differ have names that differ, and the runtime warns of none."""
    x = Input((None, 2), name="x")
    model = Model(x, [layers.Conv1D(3, 3, strides=2, padding="same")(x), layers.UpSampling1D(2)(x)])
    model.export(tmp_path / "model.onnx", verify=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    declared = {session.get_inputs()[0].shape[1], *(o.shape[1] for o in session.get_outputs())}
    assert len(declared) == 3
    for steps in range(1, 7):
        half, twice = session.run(None, {"x": np.ones((2, steps, 2), np.float32)})
        assert (half.shape, twice.shape) == ((2, -(-steps // 2), 3), (2, 2 * steps, 2))
    assert "mismatch" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: layers.Conv2D(0, 3), "filters"),
        (lambda: layers.Conv2D(3, (3, 3, 3)), "kernel_size"),
        (lambda: layers.Conv2D(3, 3, 2, dilation_rate=2), "both"),
        (lambda: layers.Conv2D(3, 3, groups=2), "groups"),
        (lambda: layers.Conv2D(3, 3, padding="causal"), "'causal'"),
        (lambda: layers.Conv2D(3, 3, data_format="channels_first"), "channels_last"),
        (lambda: layers.Conv2DTranspose(3, 3, 2, output_padding=2), "output_padding"),
        (lambda: layers.MaxPooling2D(0), "pool_size"),
        (lambda: layers.ZeroPadding2D((1, 2, 3)), "padding"),
        (lambda: layers.Cropping1D(-1), "cropping"),
        (lambda: layers.UpSampling2D(interpolation="cubic"), "interpolation"),
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], Any], part: str) -> None:
    with pytest.raises(ArgumentError, match=part):
        make()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Conv2D(3, 3, name="it"), (2, 7, 3)),
        (layers.Conv2D(4, 3, groups=2, name="it"), (2, 7, 7, 3)),
        (layers.MaxPooling2D(name="it"), (2, 7, 3)),
        (layers.MaxPooling1D(3, name="it"), (2, 2, 3)),
        (layers.GlobalMaxPooling1D(name="it"), (2, 3)),
        (layers.Cropping1D(2, name="it"), (2, 3, 3)),
    ],
)
def test_wrong_inputs_name_the_layer(layer: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"^it: "):
        layer(np.zeros(shape, np.float32))
