"""The wheel's own tests on each supported Python that is found: python -m scripts.pythons [--only 3.12] [--lowest]

For each interpreter: a fresh environment, the wheel with its extra `test`, and the fast tests from a copy outside the
repository, so that what is tested is what was installed. Then, for every supported version, found or not, whether pip
can resolve an installation there from wheels alone. --lowest installs every direct requirement at its lower bound.
Ends with status 1 where something fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
CLASSIFIER = "Programming Language :: Python :: 3."
COPIED = ("benchmarks", "deploy", "docs", "examples", "proto", "scripts", "tests")
OF_THE_SOURCE = ("tests/test_architecture.py", "tests/test_packaging.py")  # read the packages' source, or build it


def project() -> dict[str, object]:
    """The table `project` of pyproject.toml."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def supported() -> list[str]:
    """The versions of the classifiers: 3.11 and on."""
    listed = project()["classifiers"]
    assert isinstance(listed, list)
    return [text.split()[-1] for text in listed if text.startswith(CLASSIFIER)]


def interpreter(version: str) -> str | None:
    """One that answers with this version: on the path, or among pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}")
    for place in [*([on_path] if on_path else []), *sorted(root.glob(f"versions/{version}.*/bin/python"))]:
        command = [str(place), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == version:
            return str(place)
    return None


def unbounded(requirements: Iterable[str]) -> list[str]:
    """The requirements that any version meets, however old."""
    return [text for text in requirements if not {">=", "==", "~="} & {s.operator for s in Requirement(text).specifier}]


def build_wheel(folder: Path) -> Path:
    """The wheel, built by this interpreter's setuptools from the source distribution."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
    return next(folder.glob("*.whl"))


def copied(wheel: Path, folder: Path) -> Path:
    """The tests and what they read, without the packages themselves; ValueError where the two would mix."""
    folder.mkdir()
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.md"), *(ROOT / name for name in ("pyproject.toml", "mkdocs.yml", "Makefile"))]:
        shutil.copy(path, folder)
    with zipfile.ZipFile(wheel) as archive:
        mixed = {name.split("/")[0] for name in archive.namelist()} & {path.name for path in folder.iterdir()}
    if mixed:
        raise ValueError(f"the wheel holds {', '.join(sorted(mixed))}, which belongs to the repository alone")
    return folder


def tested(python: str, wheel: Path, place: Path, lowest: bool, words: list[str]) -> tuple[bool, str]:
    """Whether the wheel's tests pass under an interpreter, and pytest's last line."""
    subprocess.run([python, "-m", "venv", place], check=True)
    inner = str(place / "bin" / "python")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", inner]
    lower = [*install, "--resolution", "lowest-direct", "--extra", "test", "-r", str(ROOT / "pyproject.toml")]
    steps = [lower, [*install, "--no-deps", str(wheel)]] if lowest else [[*install, f"{wheel}[test]"]]
    if any(subprocess.run(step, check=False).returncode for step in steps):
        return False, "the wheel does not install"
    tests = copied(wheel, place / "copy")
    ignored = [f"--ignore={name}" for name in OF_THE_SOURCE]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = kept | {"PATH": f"{place}/bin:{os.environ['PATH']}"}
    command = [inner, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ignored, *words]
    last = "nothing printed"
    with subprocess.Popen(command, cwd=tests, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return running.returncode == 0, last


def resolves(wheel: Path, version: str) -> bool:
    """Whether pip finds wheels for everything that the default set and the tests need on that version."""
    options = ["--quiet", "--dry-run", "--ignore-installed", "--only-binary", ":all:", "--python-version", version]
    command = [sys.executable, "-m", "pip", "install", *options, f"{wheel}[test]"]
    return subprocess.run(command, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="VERSION", choices=supported(), default=supported())
    parser.add_argument("--lowest", action="store_true", help="every direct requirement at its lower bound")
    parser.add_argument("--resolve", action="store_true", help="only the dry runs")
    parser.add_argument("words", nargs="*", metavar="PYTEST", help="after --: handed to pytest")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it, and so would tests
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build_wheel(folder / "dist")
        for version in [] if options.resolve else options.only:
            python = interpreter(version)
            if python is None:
                print(f"Python {version}: not found", flush=True)
                continue
            passed, told = tested(python, wheel, folder / version, options.lowest, options.words)
            failed |= not passed
            print(f"Python {version}: {python}: {'passed' if passed else 'FAILED'}: {told}", flush=True)
        for version in options.only:
            found = resolves(wheel, version)
            failed |= not found
            print(
                f"Python {version}: an installation from wheels {'resolves' if found else 'DOES NOT RESOLVE'}",
                flush=True,
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()
