"""`graphkit new`: the project it makes runs as it stands, on its own data and on a person's."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from graphkit.cli.main import app
from tests.cli.machines import ROOT

FILES = [".gitignore", "README.md", "ask.py", "data.csv", "model.py", "test_model.py", "train.py"]


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["new", *map(str, arguments)])


def script(folder: Path, *words: str) -> str:
    """What a script of the project prints, in a process of its own and with warnings as errors."""
    here = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", *words]
    done = subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def served(folder: Path) -> str:
    """What ask.py and `graphkit call` print before a server over the project's models; the README's own call."""
    command = [sys.executable, "-m", "serve", "models", "--port", "0"]
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=here, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            (line,) = [x for x in (folder / "README.md").read_text().splitlines() if x.startswith("    graphkit call")]
            called = line.replace("graphkit", f"{sys.executable} -m graphkit.cli.main").replace(
                "localhost:8001", address
            )
            done = subprocess.run(called, shell=True, cwd=folder, env=here, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return script(folder, "ask.py", address) + done.stdout
        finally:
            server.terminate()
            server.wait(30)


def houses(path: Path, rows: int = 120, separator: str = ";") -> Path:
    """A table of a person's own: numbers, words, a gap, an identifier, and a price that follows from the rest."""
    random = np.random.default_rng(5)
    lines = [["address", "area (m²)", "rooms", "district", "price"]]
    for number in range(rows):
        area, rooms = random.integers(40, 200), random.integers(1, 7)
        district = ["north", "south-west"][random.integers(0, 2)]
        price = 1000 * area + 5000 * rooms + (30000 if district == "north" else 0)
        lines.append([f"Street {number}", str(area), str(rooms), "" if number == 3 else district, f"{price}.5"])
    path.write_text("\ufeff" + "\n".join(separator.join(line) for line in lines) + "\n", encoding="utf-8")
    return path


def test_the_project_runs_at_once(tmp_path: Path) -> None:
    result = run("penguins", "--into", tmp_path)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "penguins"
    assert sorted(p.name for p in folder.iterdir()) == FILES
    assert f"cd {folder}\npython -m unittest\npython train.py\ngraphkit serve models\n" in result.stdout
    assert "Ran 3 tests" in script(folder, "-m", "unittest")
    told = script(folder, "train.py")
    assert "share: largest difference" in told
    (share,) = [float(line.split("right: ")[1].split(";")[0]) for line in told.splitlines() if "never seen" in line]
    assert share >= 0.9
    assert {p.name for p in folder.iterdir()} == {*FILES, "model.gk", "models"}
    asked = served(folder)
    rows = [line for line in asked.splitlines() if "data.csv says" in line]
    assert len(rows) == 5
    assert sum(row.split()[1] == row.split()[-1] for row in rows) >= 4
    called = asked.split("data.csv says")[-1]
    assert "species: BYTES [1]" in called
    assert "Adelie" in called
    assert CliRunner().invoke(app, ["summary", str(folder / "model.gk")]).exit_code == 0
    file = str(folder / "models" / "penguins" / "1" / "model.onnx")
    assert CliRunner().invoke(app, ["verify", file, "--against", str(folder / "model.gk")]).exit_code == 0
    ends = json.loads(CliRunner().invoke(app, ["inspect", file, "--json"]).stdout)["inputs"]
    header = (folder / "data.csv").read_text().splitlines()[0].split(",")
    assert sorted(end["name"] for end in ends) == sorted(set(header) - {"species"})


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    result = run("houses", "--data", houses(tmp_path / "mine.csv"), "--target", "price", "--into", tmp_path)
    assert result.exit_code == 0, result.output
    assert "answers price (a number) from area (m²), rooms, district" in result.stdout
    assert "left out: address" in result.stdout
    folder = tmp_path / "houses"
    assert (folder / "data.csv").read_bytes() == (tmp_path / "mine.csv").read_bytes()
    code = ast.parse((folder / "model.py").read_text())
    constants = {n.targets[0].id: ast.literal_eval(n.value) for n in code.body if isinstance(n, ast.Assign)
                 and isinstance(n.targets[0], ast.Name) and isinstance(n.value, ast.Constant | ast.List)}  # fmt: skip
    assert constants == {
        "NAME": "houses", "SEPARATOR": ";", "NUMBERS": ["area (m²)", "rooms"], "WORDS": ["district"],
        "TARGET": "price", "LABEL": False, "SHARE": "share",
    }  # fmt: skip
    assert "Ran 3 tests" in script(folder, "-m", "unittest")
    told = script(folder, "train.py")
    (line,) = [line for line in told.splitlines() if "never seen" in line]
    distance, plain = (float(part.rsplit(": ", 1)[1]) for part in line.split("; "))
    assert distance < 0.3 * plain
    asked = served(folder)
    assert asked.count("; data.csv says ") == 5


def test_few_numbers_are_words_to_answer_with_and_names_may_be_any(tmp_path: Path) -> None:
    """Names of columns that the project's own code uses, too."""
    names = ["share", "unit", "word", "x", "share_1", "scaled", "TARGET"]
    lines = [",".join(names), *(",".join(str((i * k) % 97 / 7) for k in range(1, 7)) + f",{i % 3}" for i in range(40))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    result = run("kinds", "--data", tmp_path / "t.csv", "--into", tmp_path)
    assert "answers TARGET (a word) from share, unit, word, x, share_1, scaled" in result.stdout
    assert 'SHARE = "share_2"' in (tmp_path / "kinds" / "model.py").read_text()
    assert "Ran 2 tests" in script(tmp_path / "kinds", "-m", "unittest", "-k", "columns", "-k", "answers")


def test_the_project_is_clean(tmp_path: Path) -> None:
    run("clean", "--into", tmp_path)
    rules = ["--isolated", "--no-cache", "--line-length", "120", "--target-version", "py311"]
    for words in (["check", "--select", "E,F,I,B,UP,RUF,N,SIM"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, *rules]
        done = subprocess.run(command, cwd=tmp_path / "clean", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["", "two words", "../up", "a/b", ".hidden", "-x", "ü", "a" * 65, "a:b"])
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    result = run("--into", tmp_path, "--", name)
    assert result.exit_code == 1
    assert f"graphkit new: {name!r} is no name for a project" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("dear to me")
    result = run("mine", "--into", tmp_path)
    assert result.exit_code == 1
    assert f"'{tmp_path}/mine' is there already, and nothing is overwritten; choose another name" in result.stderr
    assert (tmp_path / "mine").read_text() == "dear to me"
    result = run("x", "--into", tmp_path / "none")
    assert result.exit_code == 1
    assert f"there is no folder '{tmp_path}/none'" in result.stderr


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("", None, "must name two columns or more, each once: only 0 column is there"),
        ("a\n1\n", None, "only 1 column is there"),
        ("a,a\n1,2\n", None, "'a' is empty, twice there or holds a '/'"),
        ("a,b/c\n1,2\n", None, "'b/c' is empty, twice there or holds a '/'"),
        ("a,b\n", None, "has no rows below its first line"),
        ("a,b\n1,2\n3\n", None, "line 3 of "),
        ("a,b\n1,2\n", "c", "has no column 'c'; its columns are a, b"),
        ("a,b\n1,\n2,NA\n", None, "column 'b' of "),
        ("a,b\n,x\n,y\n", None, "has no column to answer 'b' from; its columns are a, b"),
        ("a,b\n1,2\n", None, "1 of the 1 rows of "),
        (b"a,b\n\xff,2\n", None, "is no UTF-8 text"),
    ],
)
def test_tables_that_are_refused(text: str | bytes, target: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = run("x", "--data", path, "--into", tmp_path, *(["--target", target] if target else []))
    assert result.exit_code == 1
    assert said in result.stderr
    assert str(path) in result.stderr
    assert not (tmp_path / "x").exists()


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no file" in run("x", "--data", tmp_path / "none.csv", "--into", tmp_path).stderr
    assert "give it with --data" in run("x", "--target", "y", "--into", tmp_path).stderr
