"""The house rules of serve, read from the sources."""

import ast
from pathlib import Path

import pytest

import serve

FOLDER = Path(serve.__file__).parent
ORDER = [line.split()[0] for line in serve.__doc__.splitlines() if line.startswith("    ")]
SOURCES = sorted(path for path in FOLDER.glob("*.py") if not path.stem.startswith("__"))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_file_has_its_place():
    assert sorted(ORDER) == [path.stem for path in SOURCES]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_imports_point_up_the_list_and_stand_at_the_top(path):
    tree = ast.parse(path.read_text())
    above = ORDER[: ORDER.index(path.stem)]
    for name in imported(tree):
        assert not name.startswith("graphkit")
        assert name.split(".")[0] not in {"pickle", "marshal", "shelve"}
        if name.startswith("serve"):
            assert name.removeprefix("serve.") in above
    imports = (ast.Import, ast.ImportFrom)
    deeper = [node for node in ast.walk(tree) if isinstance(node, imports)]
    assert len(deeper) == sum(isinstance(node, imports) for node in tree.body)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_sizes(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.body[0].lineno < 60, node.name  # options stand in the signature


def test_two_files_know_the_runtime_and_seven_know_grpc():
    def users(name):
        return {path.stem for path in SOURCES if f"import {name}" in path.read_text()}

    assert users("onnxruntime") == {"device", "session"}
    assert users("grpc") == {"async_client", "client", "core_server", "gate", "grpc_server", "status", "tls"}
