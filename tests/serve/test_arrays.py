"""What the client sends for what it is given: the exact value, or an error."""

import ml_dtypes
import numpy as np
import pytest

from serve.arrays import natural_datatype, wire_array
from serve.datatypes import BY_NAME, DATATYPES
from serve.errors import ClientInputError

SENT = [
    ("list of integers", [[1, 2, 3]], "FP32", [[1, 2, 3]]),
    ("list of decimals", [0.1, 0.7], "FP32", np.array([0.1, 0.7], np.float32)),
    ("list of NumPy numbers", [np.float64(0.1)], "FP32", np.array([0.1], np.float32)),
    ("one number", 0.1, "FP32", np.float32(0.1)),
    ("empty list", [], "INT64", np.zeros(0, np.int64)),
    ("double that is exact", np.array([0.5, -0.0, np.nan, np.inf]), "FP32",
     np.array([0.5, -0.0, np.nan, np.inf], np.float32)),
    ("half to single", np.array([0.1], np.float16), "FP32", np.array([0.1], np.float16)),
    ("single to bfloat16", np.array([1.5], np.float32), "BF16", [1.5]),
    ("bfloat16 to single", np.array([1.5], ml_dtypes.bfloat16), "FP32", [1.5]),
    ("whole doubles", np.array([3.0, -7.0]), "INT8", [3, -7]),
    ("int32 to int64", np.array([[2], [3]], np.int32), "INT64", [[2], [3]]),
    ("int64 to uint8", np.array([0, 255]), "UINT8", [0, 255]),
    ("int64 to single", np.array([2**24, 2**30]), "FP32", [2**24, 2**30]),
    ("bool to int", np.array([True, False]), "INT32", [1, 0]),
    ("big-endian", np.array([1, 2], ">i4"), "INT32", [1, 2]),
    ("text", ["a", b"b"], "BYTES", ["a", b"b"]),
    ("text array", np.array([["ab"], ["c"]]), "BYTES", [["ab"], ["c"]]),
]  # fmt: skip

REFUSED = [
    ("double that is not exact", np.array([0.5, 0.1]), "FP32", r"0\.1 at \[1\].*FP32"),
    ("list of such arrays", [np.array([0.1])], "FP32", r"0\.1.*FP32"),
    ("decimal out of range", [1e300], "FP32", r"1e\+300.*FP32"),
    ("fraction as integer", [1.7], "INT64", r"1\.7.*INT64"),
    ("nan as integer", np.array([np.nan]), "INT64", "nan.*INT64"),
    ("2**63 as int64", np.array([2.0**63]), "INT64", "INT64"),
    ("2**64 - 1 as double", np.array([2**64 - 1], np.uint64), "FP64", "FP64"),
    ("2**63 - 1 as double", np.array([2**63 - 1]), "FP64", "FP64"),
    ("2**53 + 1 as double", [2**53 + 1], "FP64", "FP64"),
    ("2**24 + 1 as single", np.array([2**24 + 1]), "FP32", "16777217.*FP32"),
    ("70000 as half", np.array([70000]), "FP16", "70000.*FP16"),
    ("-1 as unsigned", np.array([5, -1]), "UINT64", r"-1 at \[1\].*UINT64"),
    ("300 as int8", np.array([300]), "INT8", "300.*INT8"),
    ("number as bool", [1], "BOOL", "expected BOOL"),
    ("complex", np.array([1j]), "FP32", "complex"),
    ("text as number", ["a"], "FP32", "expected FP32"),
    ("number as text", [3], "BYTES", "element 0 is int"),
    ("ragged", [[1], [2, 3]], "FP32", "unequal lengths"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "name", "wanted"), [row[1:] for row in SENT],
                         ids=[row[0] for row in SENT])  # fmt: skip
def test_sent_as_declared(value, name, wanted):
    array = wire_array("x", value, BY_NAME[name])
    assert array.dtype == BY_NAME[name].numpy
    np.testing.assert_array_equal(array, np.asarray(wanted, array.dtype))


@pytest.mark.parametrize(("value", "name", "words"), [row[1:] for row in REFUSED],
                         ids=[row[0] for row in REFUSED])  # fmt: skip
def test_refused_rather_than_changed(value, name, words):
    with pytest.raises(ClientInputError, match=f"'x'.*{words}"):
        wire_array("x", value, BY_NAME[name])


@pytest.mark.parametrize("datatype", DATATYPES, ids=lambda datatype: datatype.name)
def test_an_array_has_its_own_datatype(datatype):
    values = ["a"] if datatype.name == "BYTES" else [1]
    assert natural_datatype("x", np.array(values, datatype.numpy)) is datatype


def test_the_callers_array_is_not_touched():
    array = np.array([1, 2], np.int32)
    array.flags.writeable = False
    sent = wire_array("x", array, BY_NAME["INT64"])
    assert sent.tolist() == [1, 2]
    assert array.dtype == np.int32
