"""The public surface is `__all__` of the public modules, the reference has all of it, and each name says what it is."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import graphkit
import serve
from graphkit import tf

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
ENTRY = re.compile(r"^::: (\S+)(?:\n    options:\n      heading: (\S+))?$", re.MULTILINE)


def modules() -> dict[str, ModuleType]:
    """The public modules: the packages, the one that stands beside them, and all that `__all__` names below."""
    found = {"graphkit": graphkit, "graphkit.tf": tf, "serve": serve}
    waiting = ["graphkit"]
    while waiting:
        path = waiting.pop()
        for name in found[path].__all__:
            value = getattr(found[path], name)
            if inspect.ismodule(value):
                found[f"{path}.{name}"] = value
                waiting.append(f"{path}.{name}")
    return found


MODULES = modules()


def page_of(module: str) -> Path:
    return REFERENCE / f"{module.removeprefix('graphkit.')}.md"


def names(module: str) -> list[str]:
    """The names of a module that are not modules themselves."""
    return [n for n in MODULES[module].__all__ if not inspect.ismodule(getattr(MODULES[module], n))]


def resolved(path: str) -> Any:
    """What a dotted path leads to, through modules and what they hold."""
    parts = path.split(".")
    value: Any = importlib.import_module(parts[0])
    for part in parts[1:]:
        value = getattr(value, part)
    return value


def test_every_public_module_says_what_is_public() -> None:
    for path, module in MODULES.items():
        assert len(set(module.__all__)) == len(module.__all__), path
        assert not [n for n in module.__all__ if not hasattr(module, n)], path
        assert not [n for n in module.__all__ if n.startswith("_") and n != "__version__"], path


def test_the_reference_has_a_page_for_each_module() -> None:
    assert sorted(REFERENCE.glob("*.md")) == sorted(map(page_of, MODULES))


@pytest.mark.parametrize("module", MODULES)
def test_a_page_of_the_reference_has_each_public_name_once(module: str) -> None:
    text = page_of(module).read_text()
    told = ENTRY.findall(text)
    assert text.count("\n::: ") == len(told)
    listed = [heading or path.removeprefix(f"{module}.") for path, heading in told]
    assert sorted(listed) == sorted(n for n in names(module) if n != "__version__")
    for (path, heading), name in zip(told, listed, strict=True):
        found = importlib.import_module(path.rpartition(".")[0]) if heading else MODULES[module]
        assert getattr(found, name) is getattr(MODULES[module], name), path


@pytest.mark.parametrize("module", MODULES)
def test_a_function_is_found_where_it_says_it_is(module: str) -> None:
    for name in names(module):
        value = getattr(MODULES[module], name)
        if inspect.isfunction(value):
            assert getattr(importlib.import_module(value.__module__), value.__qualname__) is value, name


def members(kind: type) -> Iterator[tuple[str, Any, Any]]:
    """The public methods and properties of a class that are ours: name, as it stands in the class, the function."""
    for name in dir(kind):
        raw = inspect.getattr_static(kind, name)
        owner = next((c for c in kind.__mro__ if name in vars(c)), object)
        function = raw.fget if isinstance(raw, property) else getattr(raw, "__func__", raw)
        ours = not name.startswith("_") and owner.__module__.startswith(("graphkit", "serve"))
        if ours and inspect.isfunction(function):
            yield f"{owner.__qualname__}.{name}", raw, function


def documented() -> Iterator[tuple[str, str, Any]]:
    """Each public class, function, method and property: path, text, and the function whose body may raise."""
    for module in MODULES:
        for name in names(module):
            value = getattr(MODULES[module], name)
            if inspect.isclass(value):
                own = value.__init__ if "__init__" in vars(value) else None
                yield f"{module}.{name}", inspect.cleandoc(value.__doc__ or ""), own
                for path, raw, function in members(value):
                    text = inspect.getdoc(raw) or inspect.getdoc(getattr(value, path.rpartition(".")[2])) or ""
                    yield f"{module}: {path}", text, function
            elif callable(value):
                yield f"{module}.{name}", inspect.getdoc(value) or "", value


@cache
def raised(function: Any) -> set[str]:
    """The classes that a `raise` in the body names; what a subclass is to give, NotImplementedError, aside."""
    if not inspect.isfunction(function) or function.__code__.co_filename.startswith("<"):  # written by dataclasses
        return set()
    found = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = node.exc.func.attr if isinstance(node.exc.func, ast.Attribute) else getattr(node.exc.func, "id", "")
            found |= {name} if name[:1].isupper() else set()
    return found - {"NotImplementedError"}


def test_every_public_name_is_documented_in_the_form_of_the_house() -> None:
    """A first line that is one sentence or formula and ends with a period, shapes behind it; and what is raised."""
    wrong = {}
    for path, text, function in documented():
        first = text.partition("\n")[0]
        if not re.fullmatch(r"\S.*?\.(?: {2,}\S.*)?", first) or len(first) > 120:
            wrong[path] = f"begins with {first!r}"
        elif missing := {name for name in raised(function) if not re.search(rf"\b{name}\b", text)}:
            wrong[path] = f"does not tell that it raises {', '.join(sorted(missing))}"
    assert not wrong, "\n".join(f"{path} {what}" for path, what in wrong.items())
    assert sum(1 for _ in documented()) > 2000


def test_a_missing_period_and_an_untold_error_are_found() -> None:
    def untold() -> None:
        raise graphkit.errors.ShapeError("no")

    assert raised(untold) == {"ShapeError"}
    assert not re.fullmatch(r"\S.*?\.(?: {2,}\S.*)?", "x + y    d/dx = 1")
    assert re.fullmatch(r"\S.*?\.(?: {2,}\S.*)?", "x + y.    d/dx = 1")
