"""Mistakes with the server, its client and the command line."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
from typer.testing import CliRunner

import serve
from graphkit.cli.main import app
from serve.command_line import main
from tests.mistakes.row import GOOD, IDS, TAGS, Mistake


def start(scene: Any, *options: Any) -> None:
    """Starts a server in this process; what it says is the error."""
    scene.capsys.readouterr()
    code = main([*map(str, options), *([] if "--port" in options else ["--port", "0"])])
    raise SystemExit(f"status {code}: {scene.capsys.readouterr().err}")


def command(*arguments: Any) -> None:
    """Runs a command of graphkit; what it says is the error."""
    ended = CliRunner().invoke(app, [*map(str, arguments)])
    raise SystemExit(f"status {ended.exit_code}: {ended.output}")


def unreachable(scene: Any) -> None:
    """Calls a port that is bound and does not listen."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with serve.Client(f"127.0.0.1:{closed.getsockname()[1]}", timeout=20) as client:
            client.infer("tickets", GOOD)


def infer(scene: Any, model: str = "tickets", given: Any = None, version: str = "", **changed: Any) -> None:
    scene.client.infer(model, {**GOOD, **changed} if given is None else given, version=version)


INVALID = serve.InvalidArgumentError

SERVING = [
    Mistake("a model that is not there", lambda s: infer(s, "ticket"), serve.NotFoundError,
            "'ticket'", "'tickets'", "is not found", "RepositoryIndex"),
    Mistake("a version that is not there", lambda s: infer(s, version="7"), serve.NotFoundError,
            "'tickets'", "its versions are: 1", "no version 7", "RepositoryIndex"),
    Mistake("a version in words", lambda s: infer(s, version="latest"), INVALID,
            "'tickets'", "a whole number above 0", "version 'latest'", "RepositoryIndex"),
    Mistake("a signature that is not there", lambda s: infer(s, "tickets:encode"), serve.NotFoundError,
            "'tickets'", "'serving_default'", "no signature 'encode'", "ModelMetadata"),
    Mistake("an input that is missing", lambda s: infer(s, given={"ids": IDS}), INVALID,
            "'tags'", "expected 2 inputs", "got 1", "ModelMetadata"),
    Mistake("an input too many", lambda s: infer(s, text=IDS), INVALID,
            "'text'", "'ids', 'tags'", "unexpected inference input", "ModelMetadata"),
    Mistake("an unknown output", lambda s: s.client.infer("tickets", GOOD, outputs=["scor"]), INVALID,
            "'scor'", "'score'", "unexpected inference output", "ModelMetadata"),
    Mistake("a request of too few columns", lambda s: infer(s, tags=TAGS[:, :3]), INVALID,
            "'tags'", "expected shape [-1,5]", "got [7,3]", "ModelMetadata"),
    Mistake("a request of one row without its batch", lambda s: infer(s, tags=TAGS[0]), INVALID,
            "'tags'", "expected 2 dimensions", "got 1 [5]", "ModelMetadata"),
    Mistake("float64 that float32 cannot hold",
            lambda s: infer(s, tags=np.full(TAGS.shape, 0.1)), serve.ClientInputError,
            "'tags'", "FP32, which the model declares", "(float64)", "np.asarray"),
    Mistake("None in a request", lambda s: infer(s, ids=None), serve.ClientInputError,
            "'ids'", "expected INT64", "got object", "np.asarray"),
    Mistake("lists of unequal lengths", lambda s: infer(s, ids=[[1], [1, 2]]), serve.ClientInputError,
            "'ids'", "a full array", "of unequal lengths", "np.pad"),
    Mistake("a list in place of a dict", lambda s: infer(s, given=[IDS, TAGS]), serve.ClientInputError,
            "'tickets'", "a dict by input name", "got a list", "client.metadata"),
    Mistake("a web address", lambda s: serve.Client("http://localhost:8001"), serve.ClientInputError,
            "'http://localhost:8001'", "host:port", "got", "Client(address="),
    Mistake("no server", unreachable, serve.UnavailableError,
            "127.0.0.1:", "no server is reached", "failed to connect", "python -m serve"),
    Mistake("a port that is taken", lambda s: start(s, s.repository, "--port", s.port), SystemExit,
            "{port}", "choose another", "already in use", "--port"),
    Mistake("a repository that is not there", lambda s: start(s, s.folder / "none"), SystemExit,
            "none", "give another", "does not exist", "--model"),
    Mistake("nothing to serve", start, SystemExit,
            "serve: nothing", "a repository folder", "status 1", "--model"),
    Mistake("a model without its folder", lambda s: start(s, "--model", "tickets"), SystemExit,
            "'tickets'", "NAME=DIR", "got", "--model"),
    Mistake("an open door", lambda s: start(s, s.repository, "--host", "0.0.0.0"), SystemExit,
            "0.0.0.0", "listen on 127.0.0.1", "there is no TLS", "--insecure"),
    Mistake("a policy in words", lambda s: start(s, s.repository, "--version-policy", "newest"), SystemExit,
            "'newest'", "latest:NUMBER, all", "got", "--version-policy"),
    Mistake("inspect of a file that is not there", lambda s: command("inspect", s.folder / "none.onnx"), SystemExit,
            "none.onnx", "an ONNX file", "there is no file", "model.export"),
    Mistake("verify against a model that is not there",
            lambda s: command("verify", s.repository / "tickets" / "1" / "model.onnx", "--against", s.folder / "no.gk"),
            SystemExit, "no.gk", "expected one", "there is no file", "model.save"),
]  # fmt: skip
