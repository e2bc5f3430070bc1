"""Files written whole: beside their target, synced, then renamed; a reader never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from graphkit.core.errors import SavingError


def write_whole(path: Any, write: Callable[[BinaryIO], Any]) -> Path:
    """Lets `write` fill a file beside `path`, then puts it in place; on any error what stood there stays.

    Raises SavingError where the folder does not exist or `path` is a folder.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise SavingError(f"the folder {str(target.parent)!r} does not exist; create it first, with os.makedirs")
    if target.is_dir():
        raise SavingError(f"{str(target)!r} is a folder; give the name of a file")
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    finally:
        beside.unlink(missing_ok=True)
    return target
