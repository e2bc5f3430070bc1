"""The door to the server: the only file of graphkit that imports serve, and it does so when it is used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from graphkit.core.errors import ArgumentError, ServingError, StateError
from graphkit.core.lazy import module

DRAIN_SECONDS, END_SECONDS = 5, 15


def serve_command(arguments: Sequence[str]) -> int:
    """Runs `python -m serve` with these arguments in this process; gives its exit status."""
    library()
    return int(module("serve.command_line").main(list(arguments)))


def library() -> Any:
    """The package serve; StateError where a file of the person's own bears its name."""
    found = module("serve")
    if not found.__file__ or not Path(found.__file__).with_name("grpc_server.py").is_file():
        place = found.__file__ or next(iter(found.__path__))
        raise StateError(f"{place} hides graphkit's package serve, as it has the same name; rename it")
    return found


@contextmanager
def client_of(address: str, seconds: float | None, token: str | None, tls: Mapping[str, Any] | None) -> Iterator[Any]:
    """A serve.Client. What it refuses, and files it cannot read, are told as ServingError.

    tls: what serve.ClientTls takes; None: a connection in the clear.
    """
    serve = library()
    try:
        trusted = None if tls is None else serve.ClientTls(**tls)
        with serve.Client(address, seconds, token, trusted) as client:
            yield client
    except (serve.ServeError, OSError) as error:
        raise ServingError(str(error)) from error


def serve_model(
    model: Any, name: str | None = None, signatures: Any = None, device: str = "auto", port: int = 0,
    options: Sequence[str] = (), **export: Any,
) -> Server:  # fmt: skip
    """Exports a model to a temporary repository and serves it; see `Model.serve`."""
    return Server(model, model.name if name is None else name, {"signatures": signatures, **export},
                  ["--device", device, "--port", str(port), *map(str, options)])  # fmt: skip


class Server:
    """One model behind a server in a process of its own: until `stop`, the end of a `with`, or of this process.

    address: "host:port". model: its name on the wire. client: a serve.Client of the server. report: what export gave.
    Raises ServingError with what the server said where it does not start, and what `Model.export` raises.
    """

    def __init__(self, model: Any, name: str, export: Mapping[str, Any], options: Sequence[str]) -> None:
        _check_name(name)
        self.model = name
        with ExitStack() as made:
            folder = Path(made.enter_context(tempfile.TemporaryDirectory(prefix="graphkit-")))
            version = folder / "models" / name / "1"
            version.mkdir(parents=True)
            self.report = model.export(version / "model.onnx", **export)
            self._log = folder / "log"
            self._process = _started(folder, self._log, options)
            made.callback(_ended, self._process)
            self.address = self._listening()
            shutil.rmtree(version)  # loaded; if this process is killed, no weights lie about
            self.client = made.enter_context(library().Client(self.address))
            self._metadata = self.client.metadata(name)
            self._stop = weakref.finalize(self, _closed, made.pop_all(), os.getpid())

    def infer(
        self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None, timeout: float | None = None,
        signature: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The model's answer: arrays by output name, for arrays, lists or numbers by input name; see serve.Client."""
        name = self.model if signature is None else f"{self.model}:{signature}"
        answer: dict[str, Any] = self.client.infer(name, inputs, outputs, timeout)
        return answer

    def stop(self) -> None:
        """Ends the process and removes its files; accepted requests are answered first. More calls do nothing."""
        self._stop()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._stop.alive and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has written to its log; StateError once it is stopped."""
        if not self._stop.alive:
            raise StateError(f"the server of {self.model!r} is stopped, and its log is gone with it")
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        status = self._process.poll()
        state = f"in process {self._process.pid}" if self.running else "stopped"
        if self._stop.alive and status is not None:
            state = f"ended by itself with status {status}; see .log"
        ends = {"takes": self._metadata.inputs, "gives": self._metadata.outputs}
        lines = [f"  {verb} {tensor.name}: {declared(tensor)}" for verb, tensors in ends.items() for tensor in tensors]
        return "\n".join([f"<{self.model} on {self.address}, {state}", *lines]) + ">"

    def _listening(self) -> str:
        """The address, once the model is loaded; ServingError with the log where it is not."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline().split()
        if said[:2] != ["serving", "1"]:
            if not said:
                self._process.wait()
            words = self._log.read_text(errors="replace").strip() or "it has loaded no model"
            raise ServingError(f"the server of {self.model!r} did not start: {words}")
        return said[-1]


def declared(tensor: Any) -> str:
    """Datatype and shape of an input or output: FP32 [-1, 3]."""
    return f"{tensor.datatype} {list(tensor.shape)}"


def _check_name(name: str) -> None:
    serve = library()
    try:
        module("serve.folders").Sources.check_name(name)
    except serve.ServeError as error:
        raise ArgumentError(f"{error.message}; give another by model.serve(name=...)") from None


def _started(folder: Path, log: Path, options: Sequence[str]) -> subprocess.Popen[str]:
    """The server over `models` in the folder; it ends when our end of its standard input does."""
    root = str(Path(library().__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    own = ["--stop-with-input", "--drain-seconds", str(DRAIN_SECONDS), "--staging-folder", str(folder)]
    with log.open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "serve", str(folder / "models"), *own, *options],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C goes to every process of a session
        )


def _ended(process: subprocess.Popen[str]) -> None:
    try:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    finally:
        process.kill()
        process.communicate()


def _closed(made: ExitStack, owner: int) -> None:
    """What was made is undone, by the process that made it and by no fork of it."""
    if os.getpid() == owner:
        made.close()
