"""The pages in docs/ run as they stand, all blocks of a page one after another; their links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from examples import tickets
from graphkit.utils import plot_model
from tests import pages

LANGUAGES = {"python", "sh", "text"}  # what is text is shown, not run: what a program prints, what needs the network
APART = {
    "from-keras",
    "from-pytorch",
}  # the first begins with a file of Keras: tests/keras runs it; the second is below
RUNNING = [p for p in pages.PAGES if pages.program(pages.blocks(p)) and p.stem not in APART]
PYTORCH = pages.DOCS / "from-pytorch.md"
CAN_BUILD = all(importlib.util.find_spec(name) for name in ("mkdocs", "material", "mkdocstrings"))


@pytest.mark.parametrize("page", RUNNING, ids=[p.stem for p in RUNNING])
def test_a_page_runs(page: Path, tmp_path: Path) -> None:
    done = pages.run(pages.program(pages.blocks(page)), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", pages.PAGES, ids=[p.stem for p in pages.PAGES])
def test_every_block_says_what_it_is(page: Path) -> None:
    assert {kind for kind, _ in pages.blocks(page)} <= LANGUAGES
    assert page.read_text().count("\n```") == 2 * len(pages.blocks(page)), "a block is not closed, or lies in a list"


def test_the_weights_of_pytorch_fit_without_pytorch(tmp_path: Path) -> None:
    """Where PyTorch is not installed: arrays of its shapes go in."""
    shapes = {
        "conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "up.weight": (4, 2, 3, 3), "up.bias": (2,),
        "lstm.weight_ih_l0": (20, 6), "lstm.weight_hh_l0": (20, 5), "lstm.bias_ih_l0": (20,),
        "lstm.bias_hh_l0": (20,), "dense.weight": (2, 5), "dense.bias": (2,),
    }  # fmt: skip
    save_file({name: np.ones(shape, "float32") for name, shape in shapes.items()}, tmp_path / "module.safetensors")
    taking = [block for block in pages.blocks(PYTORCH) if "torch" not in block[1].replace("safetensors", "")]
    assert len(taking) == 1
    done = pages.run(pages.program(taking), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch is not installed: pip install '.[bench]'")
def test_the_page_for_pytorch_runs_with_pytorch(tmp_path: Path) -> None:
    done = pages.run(pages.program(pages.blocks(PYTORCH)), tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_configuration_for_triton_is_the_one_shown(tmp_path: Path) -> None:
    page = pages.DOCS / "from-tf2onnx-triton.md"
    found = pages.blocks(page)
    (shown,) = [code for kind, code in found if kind == "text"]
    done = pages.run(pages.program(block for block in found if "subprocess" not in block[1]), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models" / "scores" / "config.pbtxt").read_text() == shown


@pytest.mark.parametrize("page", [pages.ROOT / "README.md", *pages.PAGES], ids=lambda p: p.stem)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in pages.links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in pages.anchors(target)):
            wrong.append(link)
    assert not wrong


def test_every_page_stands_in_the_navigation_once() -> None:
    def named(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [name for part in (entry.values() if isinstance(entry, dict) else entry) for name in named(part)]

    config = yaml.safe_load((pages.ROOT / "mkdocs.yml").read_text())
    assert sorted(named(config["nav"])) == sorted(str(p.relative_to(pages.DOCS)) for p in pages.PAGES)
    assert config["strict"] is True


def test_the_picture_is_of_the_model(tmp_path: Path) -> None:
    """docs/images/tickets.svg says what a new drawing says; where is left to the program that draws."""

    def words(path: Path) -> list[str]:
        return sorted(re.findall(r"<text[^>]*>([^<]+)</text>", path.read_text()))

    drawn = plot_model(tickets.build(), tmp_path / "tickets.svg", show_shapes=True)
    assert words(pages.DOCS / "images" / "tickets.svg") == words(drawn) != []


@pytest.mark.slow
@pytest.mark.skipif(not CAN_BUILD, reason="mkdocs-material and mkdocstrings are not installed: pip install '.[docs]'")
def test_the_site_builds_without_a_warning_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=pages.ROOT, env=quiet, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    made = {path: path.read_text() for path in tmp_path.rglob("*.html") if path.name != "404.html"}
    ids = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in made.items()}
    wrong = []
    for path, text in made.items():
        for link in re.findall(r'\bhref="([^"]+)"', text):
            if re.match(r"[a-z]+:", link):
                continue
            place, _, anchor = link.partition("#")
            target = (path.parent / place).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (anchor and target in ids and anchor not in ids[target]):
                wrong.append(f"{path.relative_to(tmp_path)}: {link}")
    assert not wrong, "\n".join(wrong[:20])
    assert len(made) == len(pages.PAGES)
