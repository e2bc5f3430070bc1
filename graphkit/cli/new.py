"""`graphkit new`: a project of one's own, with data, model, training, a client and tests that run at once."""

from __future__ import annotations

import csv
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from graphkit.cli.failing import told
from graphkit.core.errors import ArgumentError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
TEMPLATES = Path(__file__).parent / "project"
FILES = {"model.py.txt", "train.py.txt", "ask.py.txt", "test_model.py.txt", "README.md.txt"}
MISSING = {"", "NA"}
SEPARATORS = ",;\t|"
FEW = 20
SOURCE = """
## Where data.csv comes from

Measurements of penguins at Palmer Station, Antarctica, by Kristen Gorman and the Palmer Station LTER, as collected in
the palmerpenguins package of Horst, Hill and Gorman (2020). Licence: CC0 1.0, public domain.
"""

Name = Annotated[str, typer.Argument(help="Of the folder and of the model.", show_default=False)]
Data = Annotated[Path | None, typer.Option(help="Your CSV, names in its first line; a small real one by default.")]
Target = Annotated[str | None, typer.Option(help="The column to be answered; the last by default.")]
Into = Annotated[Path, typer.Option(help="The folder that the project's folder is made in.")]


@dataclass(frozen=True)
class Columns:
    """What a table holds: which columns are numbers, words, the answer; which are left out, and a row of it."""

    numbers: list[str]
    words: list[str]
    target: str
    label: bool
    separator: str = ","
    left_out: list[str] = field(default_factory=list)
    row: dict[str, str] = field(default_factory=dict)

    @property
    def share(self) -> str:
        """A name for the output beside the answer, which no column bears."""
        taken = (*self.numbers, *self.words, self.target)
        return next(name for name in ("share", *(f"share_{i}" for i in range(1, len(taken) + 1))) if name not in taken)


def new(name: Name, data: Data = None, target: Target = None, into: Into = Path(".")) -> None:
    """Make a project: data, model, training, client, tests. All of it runs at once, and is yours to change.

    graphkit new penguins

    graphkit new houses --data houses.csv --target price
    """
    with told("new"):
        if target is not None and data is None:
            raise ArgumentError("--target names a column of your own table; give it with --data")
        table = TEMPLATES / "penguins.csv" if data is None else data
        columns = columns_of(table, "species" if data is None else target)
        folder = write_project(into, name, table, columns, SOURCE if data is None else "")
    said = "word" if columns.label else "number"
    typer.echo(f"{folder}: answers {columns.target} (a {said}) from {', '.join([*columns.numbers, *columns.words])}")
    for left in columns.left_out:
        typer.echo(f"left out: {left}, as nearly every row has words of its own; see WORDS in model.py")
    typer.echo(f"\ncd {shlex.quote(str(folder))}\npython -m unittest\npython train.py\ngraphkit serve models")
    typer.echo("\nand in another terminal, in the same folder:\n\npython ask.py")


def write_project(into: Path, name: str, table: Path, columns: Columns, source: str) -> Path:
    """The project's folder. ArgumentError for a bad name, or one that is taken; nothing is written then."""
    if not NAME.fullmatch(name):
        raise ArgumentError(
            f"{name!r} is no name for a project; it takes up to 64 letters, digits, _ and -: graphkit new houses"
        )
    folder = into / name
    if folder.exists():
        raise ArgumentError(f"{str(folder)!r} is there already, and nothing is overwritten; choose another name")
    if not into.is_dir():
        raise ArgumentError(f"there is no folder {str(into)!r} to make {name!r} in; make it, or give another to --into")
    asked = [f"--input {shlex.quote(f'{n}=[[{columns.row[n]}]]')}" for n in columns.numbers]
    asked += [f"--input {shlex.quote(f'{n}=[[{json.dumps(columns.row[n])}]]')}" for n in columns.words]
    values = {
        "name": _literal(name), "plain": name, "target_plain": columns.target, "separator": _literal(columns.separator),
        "numbers": _listed(columns.numbers), "words": _listed(columns.words), "target": _literal(columns.target),
        "label": str(columns.label), "share": _literal(columns.share), "example": " ".join(asked), "source": source,
    }  # fmt: skip
    texts = {file: Template((TEMPLATES / file).read_text()).substitute(values) for file in sorted(FILES)}
    folder.mkdir()
    for file, text in texts.items():
        (folder / file.removesuffix(".txt")).write_text(text, encoding="utf-8")
    (folder / ".gitignore").write_bytes((TEMPLATES / "ignored.txt").read_bytes())
    (folder / "data.csv").write_bytes(table.read_bytes())
    return folder


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _listed(names: list[str]) -> str:
    """A list as the formatter writes it: on one line where it fits."""
    line = f"[{', '.join(map(_literal, names))}]"
    return line if len(line) < 60 else "[\n" + "".join(f"    {_literal(name)},\n" for name in names) + "]"


def columns_of(path: Path, target: str | None) -> Columns:
    """What the columns of a table are, by all its rows. ArgumentError names the file, the column and the line."""
    separator, rows = _rows(path)
    names = list(rows[0])
    target = names[-1] if target is None else target
    if target not in names:
        raise ArgumentError(f"{str(path)!r} has no column {target!r}; its columns are {', '.join(names)}")
    values = {name: [row[name].strip() for row in rows if row[name].strip() not in MISSING] for name in names}
    empty = [name for name in names if not values[name]]
    if target in empty:
        raise ArgumentError(f"column {target!r} of {str(path)!r} is empty, and is what is to be answered")
    numbers = [name for name in names if values[name] and all(map(_is_number, values[name]))]
    words = [name for name in names if name not in numbers and name not in empty]
    label = target not in numbers or len(set(values[target])) <= FEW
    left_out = [name for name in words if name != target and len(set(values[name])) > max(FEW, len(values[name]) // 2)]
    used = [name for name in names if name not in (target, *left_out, *empty)]
    if not used:
        raise ArgumentError(
            f"{str(path)!r} has no column to answer {target!r} from; its columns are {', '.join(names)}"
        )
    whole = [row for row in rows if not MISSING & {row[name].strip() for name in (*used, target)}]
    if len(whole) < FEW:
        raise ArgumentError(
            f"{len(whole)} of the {len(rows)} rows of {str(path)!r} have no gap in {', '.join([*used, target])}; "
            f"{FEW} are the least to learn from: fill the gaps, or take columns away"
        )
    row = {name: whole[0][name].strip() for name in used}
    kept = ([n for n in used if n in numbers], [n for n in used if n in words])
    return Columns(*kept, target, label, separator, left_out, row)


def _rows(path: Path) -> tuple[str, list[dict[str, str]]]:
    """The separator and the rows by column."""
    if not path.is_file():
        raise ArgumentError(f"there is no file {str(path)!r}; give --data a CSV with the names of its columns first")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{str(path)!r} is no UTF-8 text: {error}; write it anew as UTF-8") from error
    first = text.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count)
    lines = list(csv.reader(text.splitlines(), delimiter=separator))
    names = list(lines[0]) if lines else []
    wrong = [name for name in names if not name.strip() or "/" in name or names.count(name) > 1]
    if len(names) < 2 or wrong:
        why = f"{wrong[0]!r} is empty, twice there or holds a '/'" if wrong else f"only {len(names)} column is there"
        raise ArgumentError(f"the first line of {str(path)!r} must name two columns or more, each once: {why}")
    short = next((n for n, line in enumerate(lines, 1) if line and len(line) != len(names)), None)
    if short:
        raise ArgumentError(
            f"line {short} of {str(path)!r} has {len(lines[short - 1])} values, and the first line names {len(names)}"
        )
    rows = [dict(zip(names, line, strict=True)) for line in lines[1:] if line]
    if not rows:
        raise ArgumentError(f"{str(path)!r} has no rows below its first line")
    return separator, rows


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
