"""Model files are met first in a child process: copied, checked, loaded and run once, with zero rows too.

`python -m serve.trial` reads an order a line, forks for it, ends the fork where it takes too long or
too much memory, and answers a line with the reason, empty where the version may be loaded. A file
that kills onnxruntime kills that fork alone. What was learned lies in `report.json`.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from serve.device import Device
from serve.errors import LoadError, ServerError
from serve.packing import merge, save_options
from serve.session import Session, SessionSettings, Stop, store_optimised
from serve.signatures import Signature, TensorSpec, from_json, to_json
from serve.staging import VersionFolder, stage
from serve.tensors import Array

REPORT, REASON = "report.json", "reason"
#: Sizes tried for free dimensions other than the first, until one run is not refused.
FREE_SIZES = (1, 5, 32, 224)
MOST_ZERO_SETS = 12

_LOOK_SECONDS = 0.02
_PARENT = 0  # our standard input ends with the parent
_PARENT_DEATH_SIGNAL = 1  # linux/prctl.h


def blank(signature: Signature, free: int, rows: int = 1, zero: frozenset[tuple[str, int]] = frozenset()) -> Any:
    """Inputs of zeros, or the lowest valid ids, or empty texts: so many rows, other free sizes `free`, some axes 0."""

    def value(spec: TensorSpec) -> Array:
        dims = spec.dims or ()
        shape = [
            0 if (spec.name, axis) in zero else size if isinstance(size, int) else rows if axis == 0 else free
            for axis, size in enumerate(dims)
        ]
        fill = "" if spec.datatype.size == 0 else signature.id_ranges.get(spec.name, (0, 0))[0]
        return np.full(shape, fill, spec.datatype.numpy)

    return {spec.name: value(spec) for spec in signature.inputs}


def run_all(session: Session, arrays: Mapping[str, Array]) -> list[Array]:
    """Every output of a session, in declared order; raises what `Session.run` raises."""
    return session.run(arrays, [spec.name for spec in session.signature.outputs], Stop())


def warm(session: Session, warmups: Iterable[Mapping[str, Any]]) -> None:
    """Run the declared warm-ups; LoadError with the name of the one that fails."""
    random = np.random.default_rng(0)
    for one in warmups:
        arrays = {}
        for name, (shape, is_random) in one["inputs"].items():
            spec = session.signature.input_specs.get(name)
            if spec is None:
                raise LoadError(f"warm-up '{one['name']}' speaks of {name!r}, which is no input")
            given = np.full(shape, "", object) if spec.datatype.size == 0 else np.zeros(shape, spec.datatype.numpy)
            if is_random and given.dtype.kind == "f":
                given += random.normal(size=shape).astype(given.dtype)
            arrays[name] = given
        try:
            for _ in range(one["count"]):
                run_all(session, arrays)
        except (ServerError, ValueError) as error:
            raise LoadError(f"warm-up '{one['name']}' failed: {getattr(error, 'message', error)}") from None


def settings_of(order: Mapping[str, Any]) -> SessionSettings:
    """The settings of an order."""
    return SessionSettings(**{**order["settings"], "device": Device(**order["settings"]["device"])})


def main() -> None:
    """Answer orders until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever native code prints is no answer
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        reason = _attempt(order, partial(_try, order))
        if not reason:
            _try_zeros(order)
        print(json.dumps(reason), file=answers, flush=True)


def _attempt(order: Mapping[str, Any], work: Callable[[], None]) -> str:
    """Do it in a fork; the reason why it failed, or empty."""
    reason = Path(order["target"], REASON)
    child = os.fork()
    if child == 0:
        try:
            ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)  # no fork outlives us
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            work()
            os._exit(0)
        except (LoadError, ServerError) as error:
            reason.write_text(getattr(error, "message", str(error)))
        except BaseException:
            reason.write_text(f"the trial of the file met {traceback.format_exc(limit=0).strip().splitlines()[-1]}")
        finally:
            os._exit(1)
    killed = _watch(child, order["seconds"], order["bytes"])
    status = os.waitpid(child, 0)[1]
    if killed or not status:
        return killed
    if os.WIFSIGNALED(status):
        return f"a trial ended with {signal.Signals(os.WTERMSIG(status)).name}: onnxruntime does not survive this file"
    return reason.read_text()


def _watch(child: int, seconds: float, most: int) -> str:
    """Wait for the child's end; kill it where it exceeds a limit and say which."""
    handle = os.pidfd_open(child)
    end = time.monotonic() + seconds
    try:
        while True:
            ready, _, _ = select.select([handle, _PARENT], [], [], _LOOK_SECONDS)
            if handle in ready:
                return ""
            if ready:
                os.kill(child, signal.SIGKILL)
                os._exit(1)
            used = _memory(child)
            if used > most or time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                did = f"needed more than {most:,} bytes" if used > most else f"did not end within {seconds:g} seconds"
                return f"a trial of the file {did}"
    finally:
        os.close(handle)


def _memory(process: int) -> int:
    """Bytes of a process that are not backed by files."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssShmem")))


def _try(order: Mapping[str, Any]) -> None:
    """Copy, check, load and run; leave the report."""
    target, settings = Path(order["target"]), settings_of(order)
    folder = VersionFolder(Path(order["folder"]), order["file"], order["hard_links"])
    files = stage(folder, target, order["file"])
    folder.close()
    rows: list[dict[str, Any]] = []
    for name, path in files.items():
        session = Session(path, settings, name)
        free = _first_run(session)
        if not rows:
            warm(session, order["warmups"])
        refused = session.batching_refused
        rows.append({"signature": to_json(session.signature), "file": path.name, "free": free, "refused": refused})
    has_weights = bool(set(target.iterdir()) - set(files.values()))
    if has_weights and settings.device.is_cpu:
        _pack(files, settings, rows)
    Path(target, REPORT).write_text(json.dumps({"rows": rows, "packed": has_weights and settings.device.is_cpu}))


def _pack(files: Mapping[str, Path], settings: SessionSettings, rows: list[dict[str, Any]]) -> None:
    """Store each signature as it will run, weights once, and run that: the same bits."""
    stored = {}
    for number, (name, path) in enumerate(files.items()):
        stored[name] = path.with_name(f"stored{number}.onnx")
        store_optimised(path, settings, stored[name], save_options(stored[name]))
    if len(stored) > 1:
        merge(stored)
    for row, path in zip(rows, stored.values(), strict=True):
        row["file"] = path.name
        signature = from_json(row["signature"])
        session = Session(path, replace(settings, level="disable_all"), signature, row["refused"])
        if row["free"]:
            run_all(session, blank(signature, row["free"]))


def _first_run(session: Session) -> int:
    """Run once; the size of free dimensions with which it went, 0 where the model refuses every one tried."""
    for free in FREE_SIZES:
        try:
            run_all(session, blank(session.signature, free))
        except ServerError:
            continue
        return free
    return 0


def _zero_sets(signature: Signature) -> list[frozenset[tuple[str, int]]]:
    """Axes that may become zero together: all first ones, all of one name, each nameless one; declared zeros beside."""
    groups: dict[str, set[tuple[str, int]]] = {}
    declared = set()
    for spec in signature.inputs:
        for axis, size in enumerate(spec.dims or ()):
            if size == 0:
                declared.add((spec.name, axis))
            elif not isinstance(size, int):
                name = "" if axis == 0 else size or f"{spec.name}:{axis}"
                groups.setdefault(name, set()).add((spec.name, axis))
    if declared:
        groups[" declared"] = set()
    return [frozenset(axes | declared) for axes in groups.values()][:MOST_ZERO_SETS]


def _try_zeros(order: Mapping[str, Any]) -> None:
    """Run each signature with each set of zero axes, each in a fork, and add those survived to the report."""
    path = Path(order["target"], REPORT)
    report = json.loads(path.read_text())
    settings = settings_of(order)
    if report["packed"]:
        settings = replace(settings, level="disable_all")

    def run(row: Mapping[str, Any], axes: frozenset[tuple[str, int]]) -> None:
        signature = from_json(row["signature"])
        session = Session(path.with_name(row["file"]), settings, signature, row["refused"])
        try:
            run_all(session, blank(signature, row["free"], zero=axes))
        except ServerError:
            return  # refused in so many words: survived

    for row in report["rows"]:
        sets = _zero_sets(from_json(row["signature"])) if row["free"] else []
        survived = [axes for axes in sets if not _attempt(order, partial(run, row, axes))]
        row["signature"]["zero_sets"] = [sorted(axes) for axes in survived]
    path.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
