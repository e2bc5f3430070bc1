"""Zero rows and dimensions that follow from others."""

import pytest

from serve.datatypes import BY_NAME
from serve.errors import InvalidArgumentError
from serve.shapes import bind_sizes, has_zero_rows, zero_row_shape
from serve.signatures import Signature, TensorSpec

FP32 = BY_NAME["FP32"]


def signature(inputs, outputs):
    return Signature(
        "serving_default",
        tuple(TensorSpec(name, FP32, dims) for name, dims in inputs.items()),
        tuple(TensorSpec(name, FP32, dims) for name, dims in outputs.items()),
    )


@pytest.mark.parametrize(
    ("dims", "wanted"),
    [
        (("batch",), (0,)),
        (("batch", 7), (0, 7)),
        (("batch", "length", 7), (0, 11, 7)),
        (("batch", "2 * length"), (0, 22)),
        (("batch", "(length + 1) // 2"), (0, 6)),
        (("batch", "length - 13"), (0, 0)),
        (("batch", "length // 0"), (0, 0)),
        (("batch", "unknown"), (0, 0)),
        (("batch", "unk__1", 3), (0, 0, 3)),
        (("batch", "__import__('os')"), (0, 0)),
        ((None, None), (0, 0)),
    ],
)
def test_shape_of_an_output_of_zero_rows(dims, wanted):
    both = signature({"x": ("batch", "length")}, {"y": dims})
    bound = bind_sizes(both, {"x": (0, 11)})
    assert zero_row_shape(both.outputs[0], bound) == wanted


@pytest.mark.parametrize("dims", [(), (1,), (1, "length"), None])
def test_an_output_without_a_batch_has_no_answer(dims):
    with pytest.raises(InvalidArgumentError, match=r"'y'.*no batch dimension"):
        zero_row_shape(TensorSpec("y", FP32, dims), {})


def test_an_input_without_a_batch_does_not_count():
    both = signature({"x": ("batch", 3), "scale": (), "pair": (2,)}, {"y": ("batch", 3)})
    assert has_zero_rows(both, {"x": (0, 3), "scale": (), "pair": (2,)})
    assert not has_zero_rows(both, {"x": (1, 3), "scale": (), "pair": (2,)})


@pytest.mark.parametrize(("dims", "shape"), [((3, "n"), (3, 0)), (("batch", "n"), (2, 0)), (None, (0, 3))])
def test_a_zero_elsewhere_is_refused(dims, shape):
    with pytest.raises(InvalidArgumentError, match=r"'x'.*only the first dimension may be 0"):
        has_zero_rows(signature({"x": dims}, {}), {"x": shape})


def test_one_name_twice_in_one_input_is_one_size():
    square = signature({"x": ("n", "n")}, {})
    assert bind_sizes(square, {"x": (5, 5)})["n"][0] == 5
    with pytest.raises(InvalidArgumentError, match="'n' of x is 5, of x is 7"):
        bind_sizes(square, {"x": (5, 7)})
