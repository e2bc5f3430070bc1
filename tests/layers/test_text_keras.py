"""Vocabularies and values of the text layers against those that Keras gave: data/text.json."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from graphkit import layers
from tests.layers import text_cases as cases
from tests.ops.harness import close

FIGURES = json.loads(cases.FIGURES.read_text())


def told(settings: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(s, ensure_ascii=True)[:60] for s in settings]


def check(layer: Any, given: Any, figures: dict[str, Any]) -> None:
    assert layer.get_vocabulary() == figures["vocabulary"]
    found = np.asarray(layer(given))
    want = np.array(figures["values"], found.dtype)
    close(found, want, 2e-6, "what Keras gives")


@pytest.mark.parametrize("number", range(len(cases.SETTINGS)), ids=told(cases.SETTINGS))
def test_text_vectorization(number: int) -> None:
    given = cases.SETTINGS[number]
    layer = layers.TextVectorization(**{k: tuple(v) if k == "ngrams" and v != 2 else v for k, v in given.items()})
    if "vocabulary" not in given:
        layer.adapt(cases.TEXTS)
    check(layer, cases.texts_for(given), FIGURES["vectorized"][number])


@pytest.mark.parametrize("number", range(len(cases.LOOKUPS)), ids=told(cases.LOOKUPS))
def test_string_lookup(number: int) -> None:
    given = cases.LOOKUPS[number]
    layer = layers.StringLookup(**given)
    if "vocabulary" not in given:
        layer.adapt(cases.WORDS)
    check(layer, cases.WORDS, FIGURES["looked_up"][number])


@pytest.mark.parametrize("number", range(len(cases.INVERTED)), ids=told(cases.INVERTED))
def test_inverted(number: int) -> None:
    layer = layers.StringLookup(**cases.INVERTED[number], invert=True)
    check(layer, np.array(cases.PLACES), FIGURES["inverted"][number])
