"""Rows of `graphkit/ops/random.py`; what a row cannot say of randomness is in `test_random.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.op import apply, spec_of
from graphkit.core.reverse import Backward
from graphkit.ops.random import Dropout, RandomNormal, RandomUniform
from tests.ops.cases.case import Case, integers, normal

_CONSTANT = "the numbers depend on key and step alone"
_NO_FILE = "random numbers are not exported; a file answers the same way each time"
_MASK = (1 << 64) - 1


def philox(key: Any, counter: list[int]) -> list[int]:
    """Ten rounds of Philox 4x64 in Python's integers (Salmon et al., 2011)."""
    k0, k1 = (int(k) for k in key)
    c0, c1, c2, c3 = counter
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c0, 1 << 64)
        high1, low1 = divmod(0xCA5A826395121157 * c2, 1 << 64)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & _MASK, (k1 + 0xBB67AE8584CAA73B) & _MASK
    return [c0, c1, c2, c3]


def _uniform(key: np.ndarray, step: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The upper 53 bits of each word as a fraction; the counter starts at 1."""
    words: list[int] = []
    while len(words) < x.size:
        words += philox(key, [len(words) // 4 + 1, 0, 0, int(step)])
    return np.array([(word >> 11) / 2**53 for word in words[: x.size]]).reshape(x.shape)


def _like(kind: type[RandomUniform], dtype: str) -> Any:
    """Numbers in the sizes of x."""
    return lambda key, step, x: apply(kind(spec_of(x).dims, dtype), key, step)


KEY = (integers(0, 1 << 62, 2, dtype="uint64"), integers(0, 99, dtype="int64"))


_BITS = "test_random.py compares what is kept with the draws of the stream"

CASES = (
    Case("dropout", lambda x, key, step: apply(Dropout(0.25), x, key, step), (normal("b", 3), *KEY), None,
         (Dropout,), no_onnx=_NO_FILE, no_reference=_BITS),
    Case("dropout/turned", lambda x, key, step: apply(Dropout(0.25), ops.transpose(x, (1, 0)), key, step),
         (normal("b", 3), *KEY), None, no_onnx=_NO_FILE, no_reference=_BITS),
    Case("dropout/squared", lambda x, key, step: ops.square(apply(Dropout(0.25), x, key, step)),
         (normal("b", 3), *KEY), None, (Dropout, Backward), no_onnx=_NO_FILE, no_reference=_BITS),
    Case("RandomUniform", _like(RandomUniform, "float64"), (*KEY, normal("b", 3)), _uniform, (RandomUniform,),
         no_grad=_CONSTANT, no_onnx=_NO_FILE),
    Case("RandomUniform/float32", _like(RandomUniform, "float32"), (*KEY, normal("b", 3)), None, (RandomUniform,),
         no_grad=_CONSTANT, no_onnx=_NO_FILE, no_reference="test_random.py compares bits with the words of the cipher"),
    Case("RandomNormal", _like(RandomNormal, "float64"), (*KEY, normal("b", 3)), None, (RandomNormal,),
         no_grad=_CONSTANT, no_onnx=_NO_FILE, no_reference="the ziggurat is NumPy's: test_random.py checks moments"),
)  # fmt: skip
