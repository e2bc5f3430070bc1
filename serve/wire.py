"""Long fields of bytes beside a message instead of in it, where protobuf would copy each several times.

A message on the wire is its fields one after the other, in any order, each a key (number * 8 + kind)
and a value; kind 2 is a length and so many bytes (Protocol Buffers, encoding).
"""

from collections.abc import Iterable

#: More fields at the top of a message are left to protobuf, which is quicker with short ones.
MOST_FIELDS = 256

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_FIXED = {_EIGHT: 8, _FOUR: 4}


def apart(data: bytes, number: int) -> tuple[bytes, list[memoryview]]:
    """Return the message without that field of bytes, and its values as views of `data`.

    Bytes that are no message, or one of many fields, come back as they are: protobuf judges them.
    """
    view, rest, values = memoryview(data), [], []
    begin = fields = 0
    try:
        while begin < len(data):
            key, place = _varint(data, begin)
            end = _end(data, key & 7, place)
            if end > len(data) or (fields := fields + 1) > MOST_FIELDS:
                return data, []
            if key == number << 3 | _BYTES:
                values.append(view[_varint(data, place)[1] : end])
            else:
                rest.append(view[begin:end])
            begin = end
    except (IndexError, KeyError):
        return data, []
    return b"".join(rest), values


def joined(message: bytes, number: int, values: Iterable[bytes | memoryview]) -> bytes:
    """Return the message with these values of that field of bytes behind it."""
    parts: list[bytes | memoryview] = [message]
    for value in values:
        parts += (_packed(number << 3 | _BYTES) + _packed(len(value)), value)
    return b"".join(parts)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number there and the place behind it; IndexError where it has no end."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise IndexError


def _end(data: bytes, kind: int, place: int) -> int:
    """The place behind a value; KeyError for a kind that no message of ours has."""
    if kind == _VARINT:
        return _varint(data, place)[1]
    if kind == _BYTES:
        length, place = _varint(data, place)
        return place + length
    return place + _FIXED[kind]


def _packed(value: int) -> bytes:
    octets = bytearray()
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)
