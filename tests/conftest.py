"""What all tests share."""

import numpy as np
import pytest

import graphkit


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers from a fixed seed."""
    return np.random.default_rng(20240607)


@pytest.fixture(autouse=True)
def fresh_names() -> None:
    """Automatic layer names begin afresh in each test."""
    graphkit.utils.clear_session()
