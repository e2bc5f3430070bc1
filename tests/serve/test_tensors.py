"""Contents of tensors: layouts, text framing, typed fields, by bytes written out by hand."""

import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.datatypes import BY_NAME, DATATYPES
from serve.errors import InvalidArgumentError
from serve.messages import message_class
from serve.tensors import decode_raw, decode_typed, encode_raw

Contents = message_class("inference.InferTensorContents")
NUMERIC = [datatype for datatype in DATATYPES if datatype.size]


def test_known_bytes():
    text = np.array([b"a\xff", b""], object)
    assert encode_raw(BY_NAME["BYTES"], text).hex() == "0200000061ff" + "00000000"
    bf16 = np.array([1.0, 2.5], ml_dtypes.bfloat16)
    assert encode_raw(BY_NAME["BF16"], bf16).hex() == "803f2040"
    assert encode_raw(BY_NAME["INT16"], np.array([1, -2], np.int16)).hex() == "0100feff"


def test_layouts_all_give_row_major_little_endian():
    array = np.arange(15, dtype=np.float32).reshape(3, 5)
    wanted = struct.pack("<6f", *[0, 2, 4, 10, 12, 14])
    fp32 = BY_NAME["FP32"]
    assert encode_raw(fp32, array[::2, ::2]) == wanted
    assert encode_raw(fp32, np.asfortranarray(array[::2, ::2])) == wanted
    assert encode_raw(fp32, array[::2, ::2].astype(">f4")) == wanted
    assert encode_raw(fp32, np.float32(7).reshape(())) == struct.pack("<f", 7)


@pytest.mark.parametrize("datatype", NUMERIC, ids=lambda datatype: datatype.name)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (3, 1, 2)])
def test_any_bits_survive(datatype, shape):
    count = int(np.prod(shape))
    raw = np.random.default_rng(5).bytes(count * datatype.size)
    if datatype.name == "BOOL":
        raw = bytes(octet & 1 for octet in raw)
    array = decode_raw("x", datatype, shape, raw)
    assert array.shape == shape
    assert array.dtype == datatype.numpy
    assert encode_raw(datatype, array) == raw


def test_any_non_zero_byte_is_true():
    assert decode_raw("x", BY_NAME["BOOL"], (3,), b"\x00\x02\xff").tolist() == [False, True, True]
    assert encode_raw(BY_NAME["BOOL"], decode_raw("x", BY_NAME["BOOL"], (1,), b"\xff")) == b"\x01"


TYPED = [
    ("BOOL", [True, False, True]),
    ("UINT8", [0, 7, 255]),
    ("UINT16", [0, 7, 2**16 - 1]),
    ("UINT32", [0, 7, 2**32 - 1]),
    ("UINT64", [0, 7, 2**64 - 1]),
    ("INT8", [-128, 7, 127]),
    ("INT16", [-(2**15), 7, 2**15 - 1]),
    ("INT32", [-(2**31), 7, 2**31 - 1]),
    ("INT64", [-(2**63), 7, 2**63 - 1]),
    ("FP32", [0.5, -0.0, float("inf")]),
    ("FP64", [0.1, -0.0, float("-inf")]),
    ("BYTES", [b"", b"a\0b\0", "é\U0001f600".encode()]),
]


@pytest.mark.parametrize(("name", "values"), TYPED, ids=[row[0] for row in TYPED])
def test_typed_contents(name, values):
    datatype = BY_NAME[name]
    contents = Contents()
    getattr(contents, datatype.contents).extend(values)
    array = decode_typed("x", datatype, (3, 1), contents)
    wanted = [value.decode() for value in values] if name == "BYTES" else values
    assert array.shape == (3, 1)
    assert array.dtype == datatype.numpy
    assert array.ravel().tolist() == wanted


def test_typed_table_is_complete():
    assert {row[0] for row in TYPED} == {one.name for one in DATATYPES if one.contents}


@given(st.lists(st.floats(width=32), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_packed_floats_are_read_from_the_end(values):
    array = decode_typed("x", BY_NAME["FP32"], (len(values),), Contents(fp32_contents=values))
    np.testing.assert_array_equal(array, np.array(values, np.float32))


@given(st.lists(st.text(max_size=40), max_size=20))
@settings(max_examples=100, deadline=None)
def test_text_survives(texts):
    raw = encode_raw(BY_NAME["BYTES"], np.array([*texts, None], object)[:-1])
    array = decode_raw("x", BY_NAME["BYTES"], (len(texts),), raw)
    assert array.tolist() == texts


@pytest.mark.parametrize("shape", [(0, 2**40, 2**41), (2**31, 0, 2**31, 5), (1,) * 65, (0,) * 65])
@pytest.mark.parametrize("kind", ["BYTES", "UINT64", "BOOL", "FP32"])
def test_a_shape_no_array_can_have_is_refused(shape, kind):
    with pytest.raises(InvalidArgumentError, match=f"input 'x': no array of {kind} can have the shape"):
        decode_raw("x", BY_NAME[kind], shape, b"")
    with pytest.raises(InvalidArgumentError, match=f"input 'x': no array of {kind} can have the shape"):
        decode_typed("x", BY_NAME[kind], shape, Contents())


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6),
    st.sampled_from(DATATYPES),
    st.binary(max_size=64),
)
@settings(max_examples=300, deadline=None)
def test_any_shape_and_bytes_are_read_or_refused(shape, datatype, raw):
    sizes = tuple(abs(size) for size in shape)
    try:
        array = decode_raw("x", datatype, sizes, raw)
    except InvalidArgumentError:
        return
    assert array.shape == sizes
    assert array.size <= len(raw)
