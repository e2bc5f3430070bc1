"""Long fields beside a message, against protobuf itself."""

import numpy as np
import pytest

from serve.messages import ModelInferRequest, ModelInferResponse
from serve.wire import MOST_FIELDS, apart, joined

RAW_IN, RAW_OUT = 7, 6


def request(sizes, **fields):
    made = ModelInferRequest(model_name="m", id="é" * 200, **fields)
    for number, size in enumerate(sizes):
        made.inputs.add(name=f"x{number}", datatype="INT8", shape=[size])
        made.raw_input_contents.append(bytes([number + 1]) * size)
    made.parameters["timeout"].int64_param = 2**40
    return made


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (127, 128), (16383, 16384, 3), (2**21,)])
def test_taken_apart_and_put_together_it_is_the_same_message(sizes):
    whole = request(sizes)
    data = whole.SerializeToString()
    rest, values = apart(data, RAW_IN)
    assert [bytes(one) for one in values] == list(whole.raw_input_contents)
    message = ModelInferRequest.FromString(rest)
    assert not message.raw_input_contents
    message.raw_input_contents.extend(bytes(one) for one in values)
    assert message == whole
    assert ModelInferRequest.FromString(joined(rest, RAW_IN, values)) == whole
    response = ModelInferResponse(model_name="m", raw_output_contents=[bytes(one) for one in values])
    assert joined(ModelInferResponse(model_name="m").SerializeToString(), RAW_OUT, values) == (
        response.SerializeToString()
    )


def test_values_are_views_and_fields_in_any_order_count():
    data = joined(joined(b"", RAW_IN, [b"a" * 300]) + request((5,)).SerializeToString(), RAW_IN, [b"last"])
    rest, values = apart(data, RAW_IN)
    assert [bytes(one) for one in values] == [b"a" * 300, b"\x01" * 5, b"last"]
    assert all(one.obj is data for one in values)
    assert ModelInferRequest.FromString(rest).id == "é" * 200


def test_what_is_no_message_or_has_many_fields_is_left_to_protobuf():
    data = request((300, 70)).SerializeToString()
    assert len(apart(data, RAW_IN)[1]) == 2
    for broken in (b"\x3a", b"\x3a\xff", b"\xff" * 12, b"\x3b\x01", b"\x3a\x05ab", data + b"\x0c"):
        assert apart(broken, RAW_IN) == (broken, [])
    many = joined(b"", RAW_IN, [b"x"] * (MOST_FIELDS + 1))
    assert apart(many, RAW_IN) == (many, [])
    assert len(apart(joined(b"", RAW_IN, [b"x"] * MOST_FIELDS), RAW_IN)[1]) == MOST_FIELDS


def test_random_bytes_are_judged_alike():
    random = np.random.default_rng(7)
    good = request((40, 3)).SerializeToString()
    agreed = 0
    for _ in range(3000):
        data = bytearray(good)
        for place in random.integers(0, len(data), 2):
            data[place] ^= 1 << random.integers(0, 8)
        data = bytes(data)
        try:
            wanted = ModelInferRequest.FromString(data)
        except Exception as error:
            with pytest.raises(type(error)):
                ModelInferRequest.FromString(joined(*_again(data)))
            continue
        assert ModelInferRequest.FromString(joined(*_again(data))) == wanted
        agreed += 1
    assert agreed > 300


def _again(data):
    rest, values = apart(data, RAW_IN)
    return rest, RAW_IN, values
