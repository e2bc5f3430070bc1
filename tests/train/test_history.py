"""The curves of a History: what is drawn, written and shown in a notebook."""

from __future__ import annotations

import re
import struct
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from graphkit import callbacks, errors
from tests.train.models import X, Y, mlp


def history(epochs: int = 4, **fit: Any) -> Any:
    return mlp().fit(X, Y, epochs=epochs, verbose=0, **fit)


def lines(panel: Any) -> dict[str, tuple[list[float], list[float]]]:
    """The curves of a panel by what its legend says."""
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    return {n: (list(line.get_xdata()), list(line.get_ydata())) for n, line in zip(names, panel.lines, strict=True)}


def test_training_and_validation_share_a_panel() -> None:
    found = history(validation_split=0.3)
    panels = found.plot().axes
    assert [(p.get_title(), p.get_ylabel(), p.get_xlabel()) for p in panels] == [
        ("loss", "loss", "epoch"), ("mae", "mae", "epoch"),
    ]  # fmt: skip
    for panel, name in zip(panels, ("loss", "mae"), strict=True):
        assert lines(panel) == {
            "training": ([1, 2, 3, 4], found.history[name]),
            "validation": ([1, 2, 3, 4], found.history[f"val_{name}"]),
        }


def test_a_figure_stands_at_the_epochs_it_was_measured_in() -> None:
    found = history(5, validation_split=0.3, validation_freq=2, initial_epoch=1)
    assert [epochs for epochs, _ in lines(found.plot().axes[0]).values()] == [[2, 3, 4, 5], [2, 4]]


def test_one_epoch_is_seen_as_a_point_and_ticks_are_whole() -> None:
    panel = history(1).plot().axes[0]
    assert panel.lines[0].get_marker() == "o"
    low, high = panel.get_xlim()
    assert [t for t in panel.get_xticks() if low <= t <= high] == [1]
    many = history(40).plot().axes[0]
    assert many.lines[0].get_marker() == "None"
    low, high = many.get_xlim()
    assert low > 0
    assert all(float(t).is_integer() for t in many.get_xticks())


def test_other_figures_have_panels_too() -> None:
    rate = callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    panels = history(validation_split=0.3, callbacks=[rate]).plot().axes
    assert [p.get_title() for p in panels] == ["loss", "mae", "learning rate"]
    assert lines(panels[2])["training"] == ([1, 2, 3, 4], pytest.approx([0.1, 0.05, 0.1 / 3, 0.025]))


def test_a_file_by_its_ending(tmp_path: Path) -> None:
    found = history()
    found.plot(tmp_path / "curves.png")
    data = (tmp_path / "curves.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", data[16:24])) > 300
    found.plot(str(tmp_path / "curves.svg"))
    assert xml.etree.ElementTree.parse(tmp_path / "curves.svg").getroot().tag.endswith("svg")
    with pytest.raises(errors.ArgumentError, match=r"curves.docx'; the ending must be one of .*pdf, .*png"):
        found.plot(tmp_path / "curves.docx")
    with pytest.raises(errors.ArgumentError, match=r"the folder '.*none' does not exist"):
        found.plot(tmp_path / "none" / "curves.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png", "curves.svg"]
    assert "matplotlib.pyplot" not in sys.modules


def test_nothing_to_plot() -> None:
    with pytest.raises(errors.StateError, match="no epoch to plot"):
        callbacks.History().plot()
    assert repr(callbacks.History()) == "<History: 0 epochs>"


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib" or n == "graphkit.train.drawing"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def shown(value: Any) -> dict[str, str]:
    return dict(DisplayFormatter().format(value)[0])


def cells(html: str) -> list[list[str]]:
    table = html[html.index("<table>") :]
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]


def test_a_notebook_shows_a_table_and_the_curves() -> None:
    found = history(2, validation_split=0.3, validation_freq=2)
    figures, mimes = found.history, shown(found)
    assert cells(mimes["text/html"]) == [
        ["epoch", "loss", "mae", "val_loss", "val_mae"],
        ["1", f"{figures['loss'][0]:.4g}", f"{figures['mae'][0]:.4g}", "", ""],
        ["2", *(f"{figures[n][-1]:.4g}" for n in ("loss", "mae", "val_loss", "val_mae"))],
    ]
    picture = mimes["text/html"][: mimes["text/html"].index("<table>")]
    assert xml.etree.ElementTree.fromstring(picture).tag.endswith("svg")
    assert mimes["text/plain"].startswith(f"<History: 2 epochs, loss {figures['loss'][-1]:.4g}, mae ")


def test_a_long_table_shows_its_end() -> None:
    html = shown(history(23))["text/html"]
    assert "the last 20 of 23 epochs" in html
    assert [row[0] for row in cells(html)] == ["epoch", *map(str, range(4, 24))]


def test_a_plotted_figure_shows_by_itself() -> None:
    text = shown(history(1).plot())["image/svg+xml"]
    assert text.startswith("<svg")
    assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")


@pytest.mark.usefixtures("without_matplotlib")
def test_where_matplotlib_is_missing() -> None:
    found = history(2)
    with pytest.raises(errors.StateError, match=r"pip install graphkit\[plot\]"):
        found.plot()
    html = shown(found)["text/html"]
    assert "pip install graphkit[plot]" in html
    assert [row[0] for row in cells(html)] == ["epoch", "1", "2"]


def test_values_that_are_not_finite_leave_gaps() -> None:
    found = callbacks.History()
    for epoch, value in enumerate([1.0, np.nan, 2.0, np.inf]):
        found.on_epoch_end(epoch, {"loss": value})
    assert lines(found.plot().axes[0])["training"][0] == [1, 2, 3, 4]
    assert "nan" in shown(found)["text/html"]
