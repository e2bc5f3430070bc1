"""The manifests in deploy/ are YAML, ask for nothing that the server does not have, and keep to what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import serve
from examples.digits import build
from serve import command_line
from tests.pages import ROOT

DEPLOY = ROOT / "deploy"


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return found


def runtime() -> dict[str, Any]:
    return manifest("serving-runtime.yaml")["spec"]


def container() -> dict[str, Any]:
    (found,) = runtime()["containers"]
    return found


def flags() -> dict[str, str]:
    return dict(argument.partition("=")[::2] for argument in container()["args"])


def known() -> set[str]:
    app = typer.Typer()
    app.command()(command_line.serve)
    return {
        name for parameter in typer.main.get_command(app).params for name in parameter.opts + parameter.secondary_opts
    }


def test_every_option_is_one_of_the_server() -> None:
    assert set(flags()) <= known()
    assert "--no-such-option" not in known()


def test_the_service_names_the_runtime_and_its_protocol() -> None:
    asked = manifest("inference-service.yaml")["spec"]["predictor"]["model"]
    assert asked["runtime"] == manifest("serving-runtime.yaml")["metadata"]["name"]
    assert asked["protocolVersion"] in runtime()["protocolVersions"]
    formats = [(one["name"], one["version"]) for one in runtime()["supportedModelFormats"]]
    assert (asked["modelFormat"]["name"], asked["modelFormat"]["version"]) in formats


def test_ports_and_probes_are_those_of_the_server() -> None:
    port = int(flags()["--port"])
    assert [p["containerPort"] for p in container()["ports"]] == [port]
    assert container()["startupProbe"]["grpc"]["port"] == container()["readinessProbe"]["grpc"]["port"] == port
    assert container()["livenessProbe"]["tcpSocket"]["port"] == port


def test_the_container_has_no_rights_and_one_place_to_write() -> None:
    allowed = container()["securityContext"]
    assert allowed["runAsNonRoot"] is True
    assert allowed["readOnlyRootFilesystem"] is True
    assert allowed["allowPrivilegeEscalation"] is False
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    assert f"USER {allowed['runAsUser']}:{allowed['runAsGroup']}" in (DEPLOY / "Dockerfile").read_text()
    (mount,) = container()["volumeMounts"]
    (volume,) = runtime()["volumes"]
    assert mount["name"] == volume["name"]
    assert "emptyDir" in volume
    assert flags()["--staging-folder"] == mount["mountPath"]


def test_there_is_time_to_drain() -> None:
    given = manifest("inference-service.yaml")["spec"]["predictor"]["terminationGracePeriodSeconds"]
    assert given > float(flags()["--drain-delay-seconds"]) + float(flags()["--drain-seconds"])


@pytest.mark.slow
def test_the_server_starts_as_the_manifest_says(tmp_path: Path) -> None:
    """The arguments as they stand, but for the port and what KServe fills in."""
    build().export(tmp_path / "model.onnx")
    (tmp_path / "staging").mkdir()
    places = {"{{.Name}}": "digits", "/mnt/models": str(tmp_path), "/staging": str(tmp_path / "staging")}
    arguments = []
    for argument in container()["args"]:
        for found, put in places.items():
            argument = argument.replace(found, put)
        arguments.append("--port=0" if argument.startswith("--port=") else argument)
    command = [sys.executable, "-m", "serve", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().rpartition(":")[2].strip()
        with serve.Client(f"127.0.0.1:{port}") as client:
            assert client.is_ready("digits")
        server.terminate()
        told = server.communicate(timeout=60)[1]
    assert server.returncode == 0, told
    assert not list((tmp_path / "staging").iterdir())
