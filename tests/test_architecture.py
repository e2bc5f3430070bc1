"""The house: imports point down, never sideways, never inside a function; files and functions stay small."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("graphkit", "graphkit_doctor", "serve")
BUDGET = {"graphkit": 35_000, "graphkit_doctor": 1_000, "serve": 7_300}  # docs/decisions/0003

# From the ground up. A file imports from entries above it in this list; within a folder, from files named before it.
FLOORS: list[tuple[str, list[str]]] = [
    ("graphkit.core", ["version", "errors", "recorded", "files", "lazy", "progress", "dimension", "tree", "dtypes",
                       "seeds", "spec", "context", "pieces", "op", "variable", "reverse", "program"]),
    ("graphkit.ops", ["erf", "convert", "shape", "slices", "pointwise", "compare", "elementwise", "reduce", "linalg",
                      "contraction", "nn", "attention", "transcendental", "norm", "batch_norm", "index", "activations",
                      "lookup", "loss", "elements", "window", "im2col", "correlate", "conv_onnx", "conv", "pool",
                      "resize", "arrange", "decomposition", "resample", "image", "random", "padding_onnx", "control",
                      "branch", "loop", "printing", "cells", "recurrent_onnx", "lstm_kernel", "recurrent",
                      "recurrent_gru", "recurrent_simple", "operators", "numberless", "create", "sorting", "statistics",
                      "text_onnx", "text"]),
    ("graphkit.graph", ["symbol", "graph", "trace"]),
    ("graphkit.autodiff", ["tape", "check", "custom"]),
    ("graphkit.runtime", ["arena", "blas", "threads", "peak", "cost", "schedule", "lanes", "chains", "layout", "rows",
                          "commit", "plan", "staged", "timing", "function"]),
    ("graphkit.layers", ["identifiers", "naming", "activations", "initializers", "regularizers", "constraints", "call",
                         "state", "layer", "input", "core", "merging", "products", "activation_layers", "masking",
                         "shaping", "noise", "normalization", "scaling", "categories", "vocabulary", "text",
                         "convolution", "transposed", "pooling", "adaptive", "spatial", "resizing", "attention",
                         "recurrent", "conv_lstm", "gru", "simple_rnn", "rnn", "wrappers", "spectral"]),
    ("graphkit.train", ["data", "dataset", "reduction", "loss", "crossentropy", "distance", "divergence", "hinge",
                        "overlap", "circle", "ctc", "losses", "metric", "loss_metrics", "confusion", "curves", "iou",
                        "scores", "metrics", "schedules", "settings", "averaging", "optimizer", "adaptive", "factored",
                        "muon", "schedule_free", "loss_scale", "optimizers", "callback", "stopping", "checkpoints",
                        "replay", "nan_finder", "tensorboard", "callbacks", "progress", "drawing", "feed", "classes",
                        "course", "source", "objective", "trainer", "interrupts", "loop"]),
    ("graphkit.export", ["builder", "refusal", "net", "cut", "fold", "duplicates", "sides", "units", "absorb",
                         "recurrences", "transposes", "reshapes", "batch_norm", "simplify", "convert", "trials", "file",
                         "report", "child", "difference", "verify", "describe", "alone", "external", "staging",
                         "exporter", "runner"]),
    ("graphkit.viz", ["dot", "draw"]),
    ("graphkit.models", ["direct", "functional", "signature", "signatures", "summary", "plotting", "profile",
                         "profiling", "model", "exporting", "verifying", "sequential", "cloning", "config", "structure",
                         "weights", "saving"]),
    ("graphkit.interop", ["keras_file", "keras_weights", "keras_config", "keras"]),
    ("graphkit.facades", ["utils", "random", "activations", "testing", "tf"]),
    ("graphkit.serving", []),
    ("graphkit.cli", ["failing", "saved", "workloads", "bench", "verify", "inspect", "call",
                      "summary", "plot", "export", "new", "demo", "main"]),
]  # fmt: skip
FACADES = {"utils", "random", "activations", "testing", "tf"}
MAY_NOT_SEE = {("graphkit.runtime", "graphkit.autodiff"), ("graphkit.autodiff", "graphkit.runtime")}


def python_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place(module: str) -> tuple[int, int] | None:
    """Floor and place within it; None for the package itself, which stands on top of all."""
    parts = module.split(".")
    if len(parts) == 2 and parts[1] in FACADES:
        parts = ["graphkit", "facades", parts[1]]
    folder = ".".join(parts[:2])
    for number, (name, files) in enumerate(FLOORS):
        if folder == name:
            if len(parts) == 2:
                return number, len(files)
            assert parts[2] in files, f"{module} stands in no list of tests/test_architecture.py"
            return number, files.index(parts[2])
    return None


def imported(node: ast.AST, module: str) -> Iterator[str]:
    """The modules an import statement names; `from package import file` counts as the file."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module}:{node.lineno} is a relative import"
        for alias in node.names:
            deeper = f"{node.module}.{alias.name}"
            known = (ROOT / Path(*deeper.split("."))).with_suffix(".py")
            folder = ROOT / Path(*deeper.split("."))
            yield deeper if known.is_file() or (folder / "__init__.py").is_file() else str(node.module)


def top_level_imports(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imported(node, module_name(path)):
                yield node.lineno, name


def test_graphkit_imports_point_down() -> None:
    wrong = []
    for path in python_files("graphkit"):
        here = place(module_name(path))
        if here is None:
            continue
        for line, name in top_level_imports(path):
            if not name.startswith("graphkit"):
                continue
            if name == "graphkit":
                if module_name(path) not in ("graphkit.tf",):
                    wrong.append(f"{path}:{line} imports the package itself")
                continue
            there = place(name)
            assert there is not None, f"{path}:{line}: unknown module {name}"
            sideways = (FLOORS[here[0]][0], FLOORS[there[0]][0]) in MAY_NOT_SEE
            if there >= here or sideways:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}, which does not stand below it")
    assert not wrong, "\n".join(wrong)


def test_serve_never_imports_graphkit_and_graphkit_imports_serve_in_one_file() -> None:
    for path in python_files("serve"):
        assert not [n for _, n in top_level_imports(path) if n.split(".")[0] == "graphkit"], path
    for path in python_files("graphkit"):
        names = [n for _, n in top_level_imports(path) if n.split(".")[0] == "serve"]
        assert not names or path == ROOT / "graphkit" / "serving.py", path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_inside_a_function(package: str) -> None:
    wrong = []
    for path in python_files(package):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
                wrong += [f"{path}:{n.lineno}" for n in inner]
    assert not wrong


def test_light_import_names_no_heavy_module() -> None:
    heavy = {"onnx", "onnxruntime", "grpc", "rich", "typer"}
    alone = {ROOT / "graphkit" / "export" / "runner.py", *(ROOT / "graphkit" / "cli").glob("*.py")}
    for path in python_files("graphkit"):
        if path not in alone:
            assert not [n for _, n in top_level_imports(path) if n.split(".")[0] in heavy], path


@pytest.mark.parametrize("folder", [*PACKAGES, "proto", "tests", "examples", "benchmarks", "docs", "scripts"])
def test_no_file_is_long(folder: str) -> None:
    lines = {str(p): len(p.read_text().splitlines()) for p in python_files(folder)}
    assert not {p: n for p, n in lines.items() if n > 400}


@pytest.mark.parametrize("package", PACKAGES)
def test_sizes(package: str) -> None:
    lines = {p: len(p.read_text().splitlines()) for p in python_files(package)}
    print(f"{package}: {sum(lines.values())} lines of {BUDGET[package]}")
    assert statistics.median(n for n in lines.values() if n) <= 150
    assert sum(lines.values()) < BUDGET[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_short(package: str) -> None:
    wrong = []
    for path in python_files(package):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                body = function.body[1:] if ast.get_docstring(function) else function.body
                length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                if length > 60:
                    wrong.append(f"{path}:{function.lineno} {function.name} has {length} lines")
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exemption_has_a_reason(package: str) -> None:
    wrong = []
    for path in python_files(package):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for mark in ("type: ignore", "noqa"):
                if mark in line and "fmt" not in line:
                    tail = (
                        line.split(mark, 1)[1].split("]", 1)[-1] if mark == "type: ignore" else line.split(mark, 1)[1]
                    )
                    if not any(c in tail for c in "#-"):
                        wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)
