"""Over many random convolutional models, the rewritten file answers as the trainer and as the file before rewrites."""

from __future__ import annotations

import numpy as np
import pytest

from tests.export.graphs import Drawn, answers, as_lowered, kinds, written
from tests.ops.harness import close

SEEDS = range(60)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_stay_what_they_were(seed: int, fold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn(seed)
    before, after = as_lowered(drawn.model, monkeypatch), written(drawn.model, fold_batch_norm=fold)
    for feeds in (drawn.feeds(2), drawn.feeds(1, 16, 10), drawn.feeds(0)):
        found = answers(after.proto, feeds)
        wanted = drawn.wanted(feeds) if len(feeds["picture"]) else found
        for got, old, want in zip(found, answers(before.proto, feeds), wanted, strict=True):
            assert got.shape == old.shape == want.shape
            close(got, old, 1e-5, "before")
            close(got, want, 1e-5, "the trainer")
    turned = kinds(before.proto)["Transpose"]
    assert kinds(after.proto)["Transpose"] <= turned


@pytest.mark.parametrize("seed", SEEDS[::3])
@pytest.mark.parametrize("opset", [17, 28])
def test_at_the_oldest_and_the_newest_opset(seed: int, opset: int) -> None:
    drawn = Drawn(seed)
    feeds = drawn.feeds(3)
    for got, want in zip(answers(written(drawn.model, opset).proto, feeds), drawn.wanted(feeds), strict=True):
        close(got, want, 1e-5, f"opset {opset}")


@pytest.mark.parametrize("seed", SEEDS[::3])
def test_layers_values_are_those_that_the_file_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value that the file names for a layer, in its own layout or in the other, is what the layer gives."""
    drawn = Drawn(seed)
    found = written(drawn.model)
    paths = tuple(p for p in (*found.values, *found.in_front) if p not in drawn.model.output_names)
    feeds = drawn.feeds(2)
    asked = as_lowered(drawn.model, monkeypatch, paths)
    wanted = dict(zip([o.name for o in asked.proto.graph.output], answers(asked.proto, feeds), strict=True))
    names = [o.name for o in found.proto.graph.output]
    made = {n for node in found.proto.graph.node for n in node.output}
    named = {**found.values, **found.in_front}
    for name in dict.fromkeys(named[p] for p in paths):
        if name in made and name not in names:
            found.proto.graph.output.add(name=name)
            names.append(name)
    got = dict(zip(names, answers(found.proto, feeds), strict=True))
    for path in paths:
        if named[path] in got:
            value = got[named[path]]
            close(np.moveaxis(value, 1, -1) if path in found.in_front else value, wanted[path], 1e-5, path)
    assert set(found.values) & set(found.in_front) == set()
