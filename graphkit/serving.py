"""The door to the server: the only file of graphkit that imports serve, and it does so when it is used."""

from __future__ import annotations

from collections.abc import Sequence

from graphkit.core.lazy import module


def serve_command(arguments: Sequence[str]) -> int:
    """Runs `python -m serve` with these arguments in this process; gives its exit status."""
    return int(module("serve.command_line").main(list(arguments)))
