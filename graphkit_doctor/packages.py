"""The packages that graphkit asks for, by what the installer noted: there, new enough, once."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

from graphkit_doctor.finding import Finding, install, install_graphkit, pip

RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
EXTRAS = {
    "plot": "History.plot",
    "tensorboard": "callbacks.TensorBoard",
    "keras": "models of Keras's .keras files",
}
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(?:;.*extra == [\"']([^\"']+)[\"'])?")
BOUND = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([^\s,]+)\s*")
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


@dataclass(frozen=True)
class Installed:
    """One package as its installer noted it."""

    name: str
    version: str
    folder: str


@dataclass(frozen=True)
class Requirement:
    """A package that is asked for, between bounds, by all or by one extra."""

    name: str
    bounds: str
    extra: str = ""

    def __str__(self) -> str:
        return f"{self.name}{self.bounds}"

    def allows(self, version: str) -> bool:
        """Whether a version is within the bounds."""
        bounds = [BOUND.fullmatch(bound) for bound in self.bounds.split(",") if bound.strip()]
        return all(bound is None or OPERATORS[bound[1]](*_same_length(version, bound[2])) for bound in bounds)


def canonical(name: str) -> str:
    """A package's name as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def numbers(version: str) -> tuple[int, ...]:
    """`2.4.6rc1` as (2, 4, 6)."""
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _same_length(a: str, b: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pairs = list(zip_longest(numbers(a), numbers(b), fillvalue=0))
    return tuple(x for x, _ in pairs), tuple(y for _, y in pairs)


def installed() -> dict[str, list[Installed]]:
    """What is installed by name, in the order in which Python looks for it."""
    found: dict[str, list[Installed]] = {}
    for package in metadata.distributions():
        name, version = package.metadata["Name"], package.metadata["Version"]
        if name and version:
            here = Installed(name, version, str(package.locate_file("")))
            found.setdefault(canonical(name), []).append(here)
    return found


def requirements(package: str = "graphkit") -> list[Requirement]:
    """What a package asks for; nothing where it is not installed."""
    try:
        texts = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []
    matches = [REQUIREMENT.fullmatch(text.strip()) for text in texts]
    return [Requirement(m[1], m[2].strip().strip("()"), m[3] or "") for m in matches if m]


def provider(name: str, there: dict[str, list[Installed]]) -> Installed | None:
    """The package that gives what is asked for; another build of onnxruntime gives it too."""
    names = RUNTIMES if name == "onnxruntime" else (canonical(name),)
    return next((there[n][0] for n in names if n in there), None)


def examine(there: dict[str, list[Installed]], asked: list[Requirement]) -> Iterator[Finding]:
    """What is missing, too old or too new, installed twice; builds that overwrite each other; extras."""
    if not asked:
        folder = str(Path(__file__).parent.parent)
        text = f"it runs from {folder} and is not installed, so nothing tells which packages it needs"
        yield Finding("broken", "graphkit", text, install_graphkit())
    for wanted in asked:
        found = provider(wanted.name, there)
        wrong = list(_package(wanted, found))
        if not wanted.extra or (wanted.extra in EXTRAS and found is not None):
            yield from wrong
    for name in dict.fromkeys(canonical(wanted.name) for wanted in asked if not wanted.extra):
        yield from _twice(there.get(name, []))
    yield from _runtimes(there)
    yield from _extras(there, asked)


def _package(wanted: Requirement, found: Installed | None) -> Iterator[Finding]:
    if found is None:
        yield Finding("broken", wanted.name, f"it is not installed; graphkit needs {wanted}", install(str(wanted)))
    elif not wanted.allows(found.version):
        text = f"{found.version} in {found.folder} is not what graphkit needs: {wanted}"
        yield Finding("broken", wanted.name, text, install(str(wanted)))


def _twice(found: list[Installed]) -> Iterator[Finding]:
    if len({one.version for one in found}) > 1:
        name, places = found[0].name, ", ".join(f"{one.version} in {one.folder}" for one in found)
        mend = f"{pip('uninstall', '-y', name)}; {install(name)}"
        yield Finding("warning", name, f"it is installed more than once, and the first is used: {places}", mend)


def _runtimes(there: dict[str, list[Installed]]) -> Iterator[Finding]:
    builds = [name for name in RUNTIMES if name in there]
    if len(builds) > 1:
        kept = "onnxruntime-gpu[cuda,cudnn]" if "onnxruntime-gpu" in builds else builds[0]
        text = f"{' and '.join(builds)} are both installed and overwrite each other; keep one"
        yield Finding("broken", "onnxruntime", text, f"{pip('uninstall', '-y', *builds)}; {install(kept)}")


def _extras(there: dict[str, list[Installed]], asked: list[Requirement]) -> Iterator[Finding]:
    for extra, use in EXTRAS.items():
        missing = [str(w) for w in asked if w.extra == extra and provider(w.name, there) is None]
        if missing:
            text = f"{', '.join(missing)} is not installed; only {use} needs it"
            yield Finding("note", f"extra {extra}", text, install(*missing))
