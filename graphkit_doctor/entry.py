"""The entry point of the command `graphkit`: the doctor works where graphkit cannot be imported."""

from __future__ import annotations

import importlib
import sys

from graphkit_doctor import command


def main() -> None:
    """Runs the doctor, or the other commands with a word about the doctor where they cannot begin."""
    if sys.argv[1:2] == ["doctor"]:
        sys.exit(command.main(sys.argv[2:]))
    try:
        run = importlib.import_module("graphkit.cli.main").main
    except Exception as error:
        error.add_note("graphkit cannot begin; `graphkit doctor` tells what is broken and how to mend it")
        raise
    run()
