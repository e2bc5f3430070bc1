"""Every recorded case against Keras's figures, and the tables that go with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.cases import FAMILIES, HERE, Case, cases, figures
from tests.parity.compare import agree
from tests.parity.families import CHECKS

EVERY = [case for family in FAMILIES for case in cases(family)]
NAMES = [f"{case.family}-{case.name}" for case in EVERY]


@pytest.mark.parametrize("case", EVERY, ids=NAMES)
def test_the_figures_are_keras(case: Case) -> None:
    CHECKS[case.family](case)


def test_the_figures_belong_to_the_cases() -> None:
    assert {family: len(cases(family)) for family in FAMILIES} == {
        "layers": 500, "ops": 148, "losses": 164, "metrics": 114, "optimizers": 114,
    }  # fmt: skip
    for family in FAMILIES:
        assert set(figures(family)) == {case.name for case in cases(family)}
    versions = json.loads(Path(HERE / "golden" / "versions.json").read_text())
    readme = (HERE / "README.md").read_text()
    for tool in ("keras", "tensorflow", "numpy", "python"):
        assert versions[tool] in readme


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (np.float32([1.0, 2.001]), np.float32([1.0, 2.0])),
        (np.float32([1.0]), np.float32([[1.0]])),
        (np.int64([1]), np.float32([1.0])),
        (np.float32([np.nan]), np.float32([1.0])),
        (np.float32([1.0]), np.float32([np.inf])),
        (None, np.float32([1.0])),
    ],
)
def test_the_rule_tells_figures_apart(got: Any, want: Any) -> None:
    with pytest.raises(AssertionError):
        agree("figure", got, want, 2e-5)


def test_the_rule_lets_rounding_pass() -> None:
    agree("figure", np.float32([1.0, 2.00003]), np.float32([1.0, 2.0]), 2e-5)
    agree("figure", np.float32([np.inf, np.nan]), np.float32([np.inf, np.nan]), 2e-5)
    agree("figure", None, np.zeros(3, np.float32), 2e-5)
