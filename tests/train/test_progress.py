"""What long work shows: a bar with the time left on a terminal; into a pipe what verbose asks for and no more.

Each run is a process of its own whose standard output is a pseudo terminal or a pipe. No test waits for the clock:
the scripts either let a bar appear at once, or their own work goes on when it was drawn.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from graphkit import Input, Model, callbacks, layers
from graphkit.core import progress

MADE = """
import numpy as np
from graphkit import Input, Model, layers, models
from graphkit.core import progress
x = np.ones((6, 2), np.float32)
inputs = Input((2,), name="tags")
model = Model(inputs, layers.Dense(1, name="score")(inputs))
model.compile("sgd", "mse")
"""
AT_ONCE = "progress.Bar.__init__.__defaults__ = (True, 0.0)\nprogress.EVERY = 0.0\n"
DRAWN = """
import time
import rich.progress
progress.LATE, progress.EVERY = 0.0, 0.001
def drawn():
    work, end = progress._work.get(), time.monotonic() + 60
    while work.drawn is not work.stage:
        assert time.monotonic() < end
"""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(code: str) -> str:
    """What a script writes to a terminal, escapes taken out."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=slave, stderr=subprocess.PIPE, env=environment) as child:
        os.close(slave)
        said = []
        while True:
            try:
                said.append(os.read(master, 65536))
            except OSError:  # Linux's way to say that the other end is closed
                break
        assert child.stderr is not None
        assert child.stderr.read() == b""
        assert child.wait() == 0
    os.close(master)
    return ESCAPES.sub("", b"".join(said).decode())


def into_pipe(code: str) -> str:
    """What it writes into a pipe."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


CALLS = {
    "fit": "model.fit(x, x[:, :1], batch_size=2, verbose={verbose!r}, validation_split=0.34)",
    "evaluate": "model.evaluate(x, x[:, :1], batch_size=2, verbose={verbose!r})",
    "predict": "model.predict(x, batch_size=2, verbose={verbose!r})",
}
LINE = {
    "fit": r"epoch 1/1  \d+\.\d s  \d+\.\d\d ms/step  loss \S+  val_loss \S+\r?\n",
    "evaluate": r"evaluate 3/3  \d+\.\d s  \d+\.\d\d ms/step  loss \S+\r?\n",
    "predict": r"predict 3/3  \d+\.\d s  \d+\.\d\d ms/step\r?\n",
}
BARS = {"fit": ("epoch 1/1", "2/2"), "evaluate": ("evaluate", "3/3"), "predict": ("predict", "3/3")}


VERBOSE = (0, 1, 2, "auto")


@pytest.fixture(scope="module", params=CALLS)
def said(request: pytest.FixtureRequest) -> tuple[str, dict[str, list[str]]]:
    """The call, and what each verbose writes into a pipe and to a terminal, from two runs."""
    code = MADE + AT_ONCE + "import sys\n"
    for verbose in VERBOSE:
        code += f"{CALLS[request.param].format(verbose=verbose)}\nprint(end='@', flush=True)\n"
    return request.param, {"pipe": into_pipe(code).split("@"), "terminal": on_terminal(code).split("@")}


@pytest.mark.parametrize("verbose", VERBOSE)
def test_a_pipe_gets_the_lines_of_verbose_alone(said: tuple[str, dict[str, list[str]]], verbose: int | str) -> None:
    call, parts = said
    wanted = LINE[call] if verbose in (1, 2) or (verbose, call) == ("auto", "fit") else ""
    assert re.fullmatch(wanted, parts["pipe"][VERBOSE.index(verbose)])


@pytest.mark.parametrize("verbose", VERBOSE)
def test_a_terminal_gets_a_bar_with_the_time_left(said: tuple[str, dict[str, list[str]]], verbose: int | str) -> None:
    call, parts = said
    part = parts["terminal"][VERBOSE.index(verbose)]
    bar = rf"{BARS[call][0]} .*{BARS[call][1]} \d:\d\d:\d\d left \d:\d\d:\d\d"
    assert bool(re.search(bar, part)) == (verbose in (1, "auto"))
    leaves = verbose in (1, 2) or (verbose, call) == ("auto", "fit")
    assert len(re.findall(LINE[call], part)) == leaves
    assert (part == "") == (verbose == 0)


def test_validation_has_a_bar(said: tuple[str, dict[str, list[str]]]) -> None:
    call, parts = said
    assert bool(re.search(r"validation .*2/2 \d:\d\d:\d\d left", parts["terminal"][1])) == (call == "fit")


def test_short_work_on_a_terminal_loads_no_rich_and_leaves_the_line_alone() -> None:
    code = MADE + CALLS["fit"].format(verbose="auto") + "\nmodel.predict(x)\nimport sys; print('rich' in sys.modules)"
    assert re.fullmatch(LINE["fit"] + "False\r\n", on_terminal(code))


EXPORT = """
import os, sys, tempfile
from graphkit.export import child
def watched(command, told=child._told):
    drawn()
    return told(command)
child._told = watched
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.onnx")
    {first}
    {call}
"""


@pytest.mark.parametrize(
    ("title", "first", "call"),
    [
        ("export", "", "model.export(path)"),
        ("verify", "model.export(path, verify=False)", "model.verify_export(path)"),
    ],
)
def test_export_and_verify_show_their_stages(title: str, first: str, call: str) -> None:
    code = MADE + DRAWN + EXPORT.format(first=first, call=call)
    said = on_terminal(code)
    assert re.search(rf"{title}: onnxruntime's answers .*\d/\d \d:\d\d:\d\d left ", said)
    assert into_pipe(MADE + EXPORT.replace("drawn()", "pass").format(first=first, call=call)) == ""


LOAD = """
import os, tempfile
from graphkit.models import saving, weights
def watched(name, items, each=progress.each):
    for item in each(name, items):
        {wait}
        yield item
weights.each = saving.each = watched
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.gk")
    model.save(path)
    {call}
"""


@pytest.mark.parametrize("call", ["models.load_model(path)", "model.load_weights(path)", "model.load_state(path)"])
def test_load_shows_how_far_it_is(call: str) -> None:
    said = on_terminal(MADE + DRAWN + LOAD.format(call=call, wait="drawn()"))
    assert re.search(r"load: .* \d/\d \d:\d\d:\d\d left ", said)
    assert into_pipe(MADE + LOAD.format(call=call, wait="pass")) == ""


def test_one_bar_at_a_time() -> None:
    """A callback that predicts while the epoch's bar is drawn does not disturb it."""
    code = (
        MADE + AT_ONCE + "from graphkit.train.callback import LambdaCallback\n"
        "hook = LambdaCallback(on_train_batch_end=lambda batch, logs: batch and model.predict(x, batch_size=2))\n"
        "model.fit(x, x[:, :1], batch_size=2, callbacks=[hook], verbose=1)\n"
        "assert not progress._screen.locked()\n"
    )
    said = on_terminal(code)
    assert "epoch 1/1" in said
    assert "predict" not in said


def test_an_error_takes_the_bar_away() -> None:
    code = (
        MADE + AT_ONCE + "from graphkit.train.callback import LambdaCallback\n"
        "def stop(batch, logs): raise KeyboardInterrupt\n"
        "for call, hook in (('fit', 'on_train_batch_end'), ('evaluate', 'on_test_batch_end')):\n"
        "    try: getattr(model, call)(x, x[:, :1], batch_size=2, callbacks=[LambdaCallback(**{hook: stop})])\n"
        "    except KeyboardInterrupt: assert not progress._screen.locked()\n"
    )
    assert not re.search(LINE["evaluate"], on_terminal(code))


class Clock:
    """A clock that goes on by `step` at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step, self.looks = 0.0, step, 0

    def perf_counter(self) -> float:
        self.looks += 1
        self.now += self.step
        return self.now


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[int]]:
    """Standard output is said to be a terminal; gives the steps that a bar draws under a clock of that step."""

    def steps(step: float) -> list[int]:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(progress, "time", Clock(step))
        seen: list[int] = []
        monkeypatch.setattr(progress.Bar, "_draw", lambda self, done, text: seen.append(done))
        with progress.Bar("epoch", 1000) as bar:
            for done in range(1, 1001):
                bar.at(done)
        return seen

    return steps


@pytest.mark.parametrize(("step", "first", "apart"), [(0.001, 500, 200), (0.05, 10, 4), (1.0, 1, 1)])
def test_it_draws_five_times_a_second_from_half_a_second_on(
    step: float, first: int, apart: int, terminal: Callable[[float], list[int]]
) -> None:
    seen = terminal(step)
    assert abs(seen[0] - first) <= 1
    assert all(abs(b - a - apart) <= 1 for a, b in pairwise(seen))


def test_import_and_work_in_a_pipe_load_no_rich() -> None:
    code = MADE + CALLS["fit"].format(verbose=1) + "\nimport sys; print('rich' in sys.modules)"
    assert into_pipe(code).endswith("False\n")


def test_what_is_in_brackets_is_no_markup() -> None:
    """A metric's name or a path such as [red] would vanish as rich's markup."""
    code = AT_ONCE.join(["from graphkit.core import progress\n", ""])
    code += "with progress.Bar('[red]load[/red]', 2) as bar: bar.at(1, {'[bold]loss': 0.5})\n"
    assert "[red]load[/red]" in (said := on_terminal(code))
    assert "[bold]loss 0.5" in said


def test_work_outside_a_terminal_starts_no_thread(tmp_path: Path) -> None:
    inputs = Input((2,), name="tags")
    model = Model(inputs, layers.Dense(1, name="score")(inputs))
    before = threading.active_count()
    seen: list[int] = []
    model.save(tmp_path / "model.gk")
    with progress.working("load"):
        seen.append(threading.active_count())
        assert list(progress.each("parts", [3, 5])) == [3, 5]
    assert seen == [before]


def test_callbacks_know_the_steps_of_validation() -> None:
    inputs = Input((2,), name="tags")
    model = Model(inputs, layers.Dense(1, name="score")(inputs))
    model.compile("sgd", "mse")
    hook = callbacks.Callback()
    x = np.ones((7, 2), np.float32)
    model.fit(x, x[:, :1], batch_size=2, verbose=0, callbacks=[hook], validation_data=(x, x[:, :1]))
    assert hook.params["validation_steps"] == 4
