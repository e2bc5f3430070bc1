"""A table of mistakes. Each row: what is done, and what its message must say, asserted one by one.

The name the person gave, what was expected, what was got, what to do, by a name or command that exists; and that
nothing was changed or written: weights and training of the model, the person's folder, the repository, the server.
The rows stand by area in `tests/mistakes`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import serve
from tests.mistakes.building import BUILDING
from tests.mistakes.data import DATA
from tests.mistakes.extras import EXTRAS
from tests.mistakes.files import FILES
from tests.mistakes.row import Mistake, exists, tickets, unchanged
from tests.mistakes.serving import SERVING
from tests.mistakes.training import TRAINING

MISTAKES = [*DATA, *TRAINING, *BUILDING, *FILES, *SERVING, *EXTRAS]
each_row = pytest.mark.parametrize("row", MISTAKES, ids=[m.title for m in MISTAKES])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One server in a process of its own, on a port that the system chose."""
    repository = tmp_path_factory.mktemp("repository")
    (repository / "tickets" / "1").mkdir(parents=True)
    tickets().export(repository / "tickets" / "1" / "model.onnx", verify=False)
    process = subprocess.Popen(
        [sys.executable, "-m", "serve", str(repository), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert process.stdout is not None
    port = int(process.stdout.readline().rpartition(":")[2])
    with serve.Client(f"127.0.0.1:{port}", timeout=20) as client:
        yield SimpleNamespace(repository=repository, port=port, client=client)
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture(scope="module")
def done() -> dict[str, Any]:
    """What came of each row, which is done once."""
    return {}


@pytest.fixture(params=MISTAKES, ids=[m.title for m in MISTAKES])
def mistake(request: pytest.FixtureRequest, server: Any, tmp_path: Path, capsys: Any, done: dict[str, Any]) -> Any:
    """The row after it was done: its message, its four texts as they are here, and what is another than before."""
    row: Mistake = request.param
    if row.title not in done:
        scene = SimpleNamespace(model=tickets(), folder=tmp_path, capsys=capsys, **vars(server))
        row.prepare(scene)
        with unchanged(scene) as changes, pytest.raises(row.kind) as caught:
            row.do(scene)
        here = {"{port}": str(server.port), "{folder}": str(tmp_path)}
        name = here.get(row.name, row.name)
        done[row.title] = SimpleNamespace(row=row, name=name, text=str(caught.value), changes=changes)
    return done[row.title]


def test_there_are_sixty_at_least_and_each_title_once() -> None:
    assert len({m.title for m in MISTAKES}) == len(MISTAKES) >= 60


@each_row
def test_no_text_of_a_row_holds_another(row: Mistake) -> None:
    """Else one of the assertions could not fail by itself."""
    texts = (row.name, row.expected, row.got, row.action)
    assert not [(a, b) for i, a in enumerate(texts) for j, b in enumerate(texts) if i != j and a in b]


@each_row
def test_the_remedy_exists(row: Mistake) -> None:
    assert exists(row.action)


@pytest.mark.parametrize(
    "remedy",
    ["--prot", "graphkit exprot", "pip install graphkit[plots]", "layers.Dens", "Dense(unit=", "no_such_argument=",
     "model.fits", "ModelMetadatum", "np.reshap", "Nothing(at="],
)  # fmt: skip
def test_a_remedy_that_is_not_there_is_found_out(remedy: str) -> None:
    assert not exists(remedy)


def test_it_names_what_the_person_named(mistake: Any) -> None:
    assert mistake.name in mistake.text


def test_it_tells_what_was_expected(mistake: Any) -> None:
    assert mistake.row.expected in mistake.text


def test_it_tells_what_was_got(mistake: Any) -> None:
    assert mistake.row.got in mistake.text


def test_it_tells_what_to_do(mistake: Any) -> None:
    assert mistake.row.action in mistake.text


def test_nothing_was_changed_or_written(mistake: Any) -> None:
    assert mistake.changes == []
