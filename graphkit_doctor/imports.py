"""Whether the packages can be imported, from where, and as what they are recorded."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from graphkit_doctor.finding import Finding, install, install_graphkit, pip
from graphkit_doctor.packages import Installed, Requirement, canonical, numbers, provider
from graphkit_doctor.running import Result

MODULES = {"grpcio": "grpc", "protobuf": "google.protobuf", "graphviz-pure": ""}
LIBRARY = re.compile(r"(lib[\w+-]+)\.so[.\d]*: cannot open shared object")
SYSTEM_PACKAGES = {"libgomp": "libgomp1", "libstdc++": "libstdc++6"}
OURS = ("graphkit", "serve")


def module_of(name: str) -> str:
    """What is imported of a package; empty where it is a program alone."""
    return MODULES.get(name, canonical(name).replace("-", "_"))


def tasks(asked: list[Requirement]) -> list[str]:
    """An import for each package that all need, and of graphkit and its server behind them."""
    names = [module_of(wanted.name) for wanted in asked if not wanted.extra]
    return [f"import:{name}" for name in (*filter(None, names), *OURS)]


def examine(
    asked: list[Requirement], there: Mapping[str, list[Installed]], results: Mapping[str, Result]
) -> Iterator[Finding]:
    """Imports that fail, files that hide a package, versions that differ from the recorded ones."""
    failed = False
    for wanted in asked:
        name, found = module_of(wanted.name), provider(wanted.name, dict(there))
        if wanted.extra or not name:
            continue
        if found is None:
            failed = True
            continue
        problems = list(_package(wanted, found, results[f"import:{name}"]))
        failed = failed or any(problem.level == "broken" for problem in problems)
        yield from problems
    for name in OURS:
        error = results[f"import:{name}"].error
        if error and not failed:
            yield Finding("broken", name, f"it cannot be imported: {error}", install_graphkit())
    yield from _hidden([module_of(wanted.name) for wanted in asked if not wanted.extra])


def _package(wanted: Requirement, found: Installed, result: Result) -> Iterator[Finding]:
    name, module = wanted.name, module_of(wanted.name)
    if result.error:
        place = _elsewhere(module, found)
        hidden = f" (it is hidden by {place})" if place else ""
        mend = _put_away(place) if place else _mend(name, str(wanted), result.error)
        yield Finding("broken", name, f"it cannot be imported{hidden}: {result.error}", mend)
        return
    file, version = result.found["file"] or "", result.found["version"]
    if file and not Path(file).is_relative_to(found.folder):
        text = f"{found.version} is installed in {found.folder}, and {file} is imported in its place"
        yield Finding("warning", name, text, _put_away(file))
    elif numbers(version) and numbers(version) != numbers(found.version):
        text = f"{found.version} is what pip recorded, and what is there says it is {version}: half of another version"
        mend = f"{pip('uninstall', '-y', found.name)}; {install(str(wanted), again=True)}"
        yield Finding("broken", name, text, mend)


def _mend(name: str, requirement: str, error: str) -> str:
    library = LIBRARY.search(error)
    if library and library[1] in SYSTEM_PACKAGES:
        return f"apt-get install -y {SYSTEM_PACKAGES[library[1]]}"
    missing = re.search(r"No module named '([A-Za-z0-9_]+)", error)
    if missing and missing[1] not in (name, module_of(name).partition(".")[0]):
        return install(missing[1])
    return install(requirement, again=True)


def _elsewhere(module: str, found: Installed) -> str:
    """The file of this name in a folder that PYTHONPATH puts before the installed package; empty where none."""
    first = module.partition(".")[0]
    for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        for path in (Path(folder, f"{first}.py"), Path(folder, first, "__init__.py")):
            if path.is_file() and Path(folder).resolve() != Path(found.folder).resolve():
                return str(path)
    return ""


def _put_away(file: str) -> str:
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    if any(Path(file).is_relative_to(folder) for folder in folders):
        return "unset PYTHONPATH"
    path = Path(file).parent if Path(file).name == "__init__.py" else Path(file)
    return shlex.join(["mv", str(path), f"{path.with_suffix('')}_of_mine{path.suffix}"])


def _hidden(modules: list[str]) -> Iterator[Finding]:
    """Files of this folder that a script beside them would import in place of a package."""
    for module in (*modules, *OURS):
        path = Path.cwd() / f"{module.partition('.')[0]}.py"
        if module and path.is_file():
            text = f"{path} is imported by every script in this folder in place of the package {module}"
            yield Finding("warning", module, text, _put_away(str(path)))
