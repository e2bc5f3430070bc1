"""Real pictures for the examples: scikit-learn's handwritten digits, enlarged from 8 x 8 to 28 x 28."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits


def digits_28(rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Grey values in [0, 1] of shape (n, 28, 28, 1), and the digits."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))[:rows]
    large = np.kron(digits.images[order] / 16, np.ones((3, 3)))
    framed = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    return framed[..., None].astype("float32"), digits.target[order]
