"""The benchmark of text runs on real words, and nothing takes a magnitude longer than it should."""

from __future__ import annotations

from benchmarks import text


def test_each_setting_is_measured() -> None:
    words = text.words()
    assert len(words) == text.TEXTS * text.WORDS
    assert words[:4] == ["GNU", "GENERAL", "PUBLIC", "LICENSE"]
    found = text.times(calls=5)
    assert list(found) == list(text.SETTINGS)
    assert 0 < found["as it is"] < found["a fixed length"] < 20
