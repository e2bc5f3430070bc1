"""`graphkit` as a whole: help with examples, exit status, completion, and what it loads."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import graphkit
from graphkit.cli.main import app
from graphkit.core.version import VERSION
from tests.cli.machines import ROOT

COMMANDS = ["demo", "new", "summary", "plot", "export", "verify", "inspect", "serve", "call", "bench", "doctor"]
WIDE = {"COLUMNS": "200", "TERM": "dumb"}


def installed(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the installed command does: its entry point in a process of its own."""
    entry = "import sys; sys.argv[0] = 'graphkit'; from graphkit_doctor.entry import main; main()"
    here = {**os.environ, "PYTHONPATH": str(ROOT), **WIDE, **environment}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", entry, *arguments],
        env=here, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_help_names_every_command_and_the_exit_status() -> None:
    result = CliRunner().invoke(app, ["--help"], env=WIDE)
    assert result.exit_code == 0
    shown = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("│ ") and "--" not in line]
    assert [name for name in shown if name in COMMANDS] == COMMANDS
    assert {c.name or c.callback.__name__ for c in app.registered_commands if c.callback} == set(COMMANDS)
    assert "Exit status: 0 all is well, 1 something is wrong or cannot be done, 2 the command line is wrong." in (
        " ".join(result.stdout.split())
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_examples(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env=WIDE)
    assert result.exit_code == 0, result.output
    program = "Usage: serve" if command == "serve" else f"graphkit {command}"
    assert program in result.stdout
    callbacks = {c.name or getattr(c.callback, "__name__", ""): c.callback for c in app.registered_commands}
    assert f"\ngraphkit {command}" in (inspect.getdoc(callbacks[command]) or "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such"], "No such command 'no-such'"),
        (["summary"], "Missing argument"),
        (["export", "m.gk", "--opset", "new"], "'--opset'"),
        (["export", "m.gk", "--signature", "embed"], "a signature reads 'NAME: INPUTS -> OUTPUTS'"),
        (["export", "m.gk", "--gradient", "g: y"], "a gradient reads 'NAME: TARGET by INPUTS'"),
        (["verify", "m.onnx", "--size", "x"], "whole numbers such as 3,5"),
        (["bench", "--steps", "0"], "'--steps'"),
        (["doctor", "--no-such"], "unrecognized arguments: --no-such"),
        (["serve", "--port", "x"], "'--port'"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, arguments, env=WIDE)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["summary", "plot", "export", "verify", "inspect", "bench"])
def test_what_cannot_be_done_is_1(command: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [command, str(tmp_path / "none.gk")])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"graphkit {command}: ")
    assert f"{tmp_path}/none.gk" in result.stderr


def test_the_version_and_nothing_heavy() -> None:
    done = installed("--version")
    assert (done.returncode, done.stdout) == (0, f"graphkit {VERSION}\n")
    assert installed("inspect").returncode == 2
    assert installed("inspect", "none.onnx").returncode == 1
    code = (
        "import sys; sys.argv = ['graphkit', '--help']\n"
        "from graphkit_doctor.entry import main\n"
        "heavy = ('onnx', 'onnxruntime', 'grpc', 'serve')\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print([name for name in heavy if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_a_shell(shell: str) -> None:
    shown = installed("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert shown.returncode == 0, shown.stderr
    assert "_GRAPHKIT_COMPLETE" in shown.stdout


def test_completion_of_commands_and_options() -> None:
    def completed(words: str, place: int) -> list[str]:
        done = installed(_GRAPHKIT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(place))
        return done.stdout.split()

    assert completed("graphkit in", 1) == ["inspect"]
    assert completed("graphkit ", 1) == COMMANDS
    assert completed("graphkit plot --sid", 2) == ["--sideways"]


def test_json_wherever_a_machine_may_read(tmp_path: Path) -> None:
    x = graphkit.Input((3,), name="x")
    model = graphkit.Model(x, graphkit.layers.Dense(2, name="y")(x), name="small")
    model.save(tmp_path / "small.gk")
    saved, file = str(tmp_path / "small.gk"), str(tmp_path / "small.onnx")
    for arguments in (
        ["summary", saved], ["export", saved], ["verify", file, "--against", saved], ["inspect", file],
        ["bench", saved, "--steps", "1"], ["doctor", "--port", "0"],
    ):  # fmt: skip
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == 0, (arguments, result.output)
        assert isinstance(json.loads(result.stdout), dict), arguments
