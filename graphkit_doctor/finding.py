"""What an examination finds, and how a command to mend it is written."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["broken", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something wrong: about what, in words, and the command that mends it.

    broken: graphkit, its server or its client does not work. warning: it works, but not as it should. note: a part that
    is not installed and that few need.
    """

    level: Level
    about: str
    text: str
    mend: str


def pip(*arguments: str) -> str:
    """A command of this interpreter's pip, with a word of its own for each argument."""
    return shlex.join([sys.executable, "-m", "pip", *arguments])


def install(*requirements: str, again: bool = False) -> str:
    """The command that installs these, over what is there where `again`."""
    return pip("install", *(["--force-reinstall"] if again else []), *requirements)


def install_graphkit() -> str:
    """The command that installs graphkit: from the checkout that it runs from, else anew."""
    folder = Path(__file__).parent.parent
    here = (folder / "pyproject.toml").is_file()
    return install("--editable", str(folder)) if here else install("graphkit", again=True)
