"""What the doctor runs in a process of its own, since a broken package may end it: imports and probes, a line each.

    python -P child.py import:numpy probe:blas ...

A line says what begins, the next what came of it, as JSON. Only what is named is imported.
"""

from __future__ import annotations

import importlib
import json
import locale
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOCALES = ("LANG", "LC_ALL", *sorted(name for name in dir(locale) if name.startswith("LC_") and name != "LC_ALL"))


def blas() -> Any:
    """The BLAS libraries that NumPy loaded."""
    importlib.import_module("numpy")
    pools = importlib.import_module("threadpoolctl").threadpool_info()
    return [
        {key: pool.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
        for pool in pools
        if pool["user_api"] == "blas"
    ]


def processors() -> Any:
    """How many processors the trainer and the server take themselves to have, and the bytes that are free."""
    here = importlib.import_module("serve.processors")
    return {
        "trainer": importlib.import_module("graphkit.runtime.threads").available(),
        "server": here.usable_processors(),
        "memory": here.usable_memory(),
    }


def providers() -> Any:
    """onnxruntime's providers, and what comes of running a model on each of processor and GPU that is named."""
    names = importlib.import_module("onnxruntime").get_available_providers()
    if "CPUExecutionProvider" not in names:
        return {"names": names, "faults": {}}
    find = importlib.import_module("serve.device").find_device
    faults = {}
    for name, device in (("CPUExecutionProvider", "cpu"), ("CUDAExecutionProvider", "cuda")):
        if name in names:
            try:
                find(device)
            except Exception as error:  # what a provider raises is the answer
                faults[name] = str(error)
    return {"names": names, "faults": faults}


def protobuf() -> Any:
    """Which implementation of protobuf is in use: upb, cpp or python."""
    return importlib.import_module("google.protobuf.internal.api_implementation").Type()


def text() -> Any:
    """The variables that name a locale which is not on this machine, and how text is written."""
    faults = {}
    for name in LOCALES:
        try:
            locale.setlocale(locale.LC_CTYPE, os.environ.get(name) or "C")
        except locale.Error as error:
            faults[name] = str(error)
    return {"faults": faults, "encoding": sys.stdout.encoding}


PROBES: dict[str, Callable[[], Any]] = {p.__name__: p for p in (blas, processors, providers, protobuf, text)}


def imported(name: str) -> Any:
    """Where a module lies and which version it says it is."""
    found = importlib.import_module(name)
    return {"file": getattr(found, "__file__", None), "version": str(getattr(found, "__version__", ""))}


def main() -> None:
    """A line before each task and one after it."""
    sys.path.append(str(Path(__file__).parent.parent))
    for task in sys.argv[1:]:
        kind, _, name = task.partition(":")
        print(json.dumps({"begun": task}), flush=True)
        try:
            line = {"task": task, "found": imported(name) if kind == "import" else PROBES[name]()}
        except Exception as error:  # whatever a package raises is what is wrong with it
            line = {"task": task, "error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
