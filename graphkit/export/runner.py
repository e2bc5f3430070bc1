"""Runs a model file on prepared inputs, alone: `python runner.py PARENT MODEL FEEDS.npz RESULTS.npz [FOLDER]`.

It is a process of its own because a file that kills onnxruntime must not kill the trainer, and it ends when the
trainer does. It imports nothing of graphkit, so that it starts at once, and reads the model by its path, so that it
holds one copy of the weights. Keys are "<case>/<name>" in both archives; "!<case>" holds what a case was refused with.
PARENT: the number of the process that waits. FOLDER: where the external weights lie, if that is not beside the model.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

LOG = "graphkit"
DIE_WITH_PARENT, KILL = 1, 9


def main(parent: str, model: str, feeds: str, results: str, folder: str = "") -> None:
    """Runs each case and saves its outputs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, KILL)
        if os.getppid() != int(parent):
            return
    session = opened(model, folder)
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(feeds, allow_pickle=False) as archive:
        for key in archive.files:
            case, name = key.split("/", 1)
            cases.setdefault(case, {})[name] = archive[key]
    names = [o.name for o in session.get_outputs()]
    wanted = {i.name for i in session.get_inputs()}
    found: dict[str, Any] = {}
    for case, feed in cases.items():
        print(f"case {case}", flush=True)
        try:
            values = session.run(names, {n: a for n, a in feed.items() if n in wanted})
        except Exception as error:  # what onnxruntime raises has no base of its own
            found[f"!{case}"] = np.array(f"{type(error).__name__}: {error}")
            continue
        found.update({f"{case}/{n}": storable(v) for n, v in zip(names, values, strict=True)})
    np.savez(results, **found)


def opened(model: str, folder: str) -> Any:
    """The session, whose warnings bear this log's name; weights outside the file are read where they lie."""
    options = onnxruntime.SessionOptions()
    options.logid = LOG
    options.add_session_config_entry("session.disable_prepacking", "1")
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    source = Path(model).read_bytes() if folder else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def storable(value: Any) -> Any:
    """The value without Python objects: strings of fixed width."""
    return value.astype(np.str_) if isinstance(value, np.ndarray) and value.dtype == object else value


if __name__ == "__main__":
    main(*sys.argv[1:])
