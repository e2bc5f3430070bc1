"""The one helper for modules that load when they are used, so that `import graphkit` stays light."""

from __future__ import annotations

import importlib
from typing import Any

from graphkit.core.errors import StateError


def module(name: str, package: str | None = None) -> Any:
    """The module `name`, imported now. StateError says what to install where it is missing.

    package: the name pip knows it by, where that is another.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and not name.startswith(error.name):
            raise
        raise StateError(
            f"this needs {name!r}, which is not installed; install it: pip install {package or name}"
        ) from error
