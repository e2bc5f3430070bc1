"""`graphkit doctor`: each planted fault is named with the command that mends it, and a healthy machine has none."""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from graphkit.cli.main import app
from graphkit_doctor import examination, surroundings
from graphkit_doctor.packages import Requirement, requirements
from graphkit_doctor.running import Result
from serve.processors import usable_processors
from tests.cli.machines import ROOT, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_healthy_machine_has_none(machine: Machine) -> None:
    assert machine.doctor() == (0, {})
    told = machine.run("-m", "graphkit_doctor", "--port", "0")
    assert told.returncode == 0
    assert told.stdout.splitlines()[-1] == "nothing is broken"
    for fact in (
        metadata.version("numpy"), metadata.version("onnxruntime"), "CPUExecutionProvider", str(machine.python),
        " usable of ", " GB free", " threads", "LANG=C.UTF-8",
    ):  # fmt: skip
        assert fact in told.stdout


def test_eight_faults_of_the_surroundings(machine: Machine) -> None:
    no_folder = machine.folder / "file"
    no_folder.write_text("")
    (machine.work / "serve.py").write_text("")
    machine.environment |= {
        "OMP_NUM_THREADS": "bad",
        "OPENBLAS_NUM_THREADS": "4096",
        "ORT_LOAD_CONFIG_FROM_MODEL": "1",
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
        "TMPDIR": str(no_folder),
        "LANG": "xx_YY.UTF-8",
        "http_proxy": "http://proxy.example:3128",
    }
    status, found = machine.doctor()
    assert status == 1
    mends = {
        "OMP_NUM_THREADS": "unset OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS": f"export OPENBLAS_NUM_THREADS={usable_processors()}",
        "ORT_LOAD_CONFIG_FROM_MODEL": "unset ORT_LOAD_CONFIG_FROM_MODEL",
        "protobuf": "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION",
        "TMPDIR": "unset TMPDIR",
        "LANG": "export LANG=C.UTF-8",
        "http_proxy": "export no_proxy=localhost,127.0.0.1",
        "serve": f"mv {machine.work}/serve.py {machine.work}/serve_of_mine.py",
    }
    assert {about: f["mend"] for about, f in found.items()} == mends
    assert {a for a, f in found.items() if f["level"] == "broken"} == {"ORT_LOAD_CONFIG_FROM_MODEL", "TMPDIR"}
    said = {
        "OMP_NUM_THREADS": "'bad'", "OPENBLAS_NUM_THREADS": "4096", "TMPDIR": str(no_folder), "LANG": "'xx_YY.UTF-8'",
        "http_proxy": "http://proxy.example:3128", "serve": f"{machine.work}/serve.py",
    }  # fmt: skip
    assert all(text in found[about]["text"] for about, text in said.items())


def test_a_taken_port_with_its_owner(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, found = machine.doctor(port)
    assert status == 0
    assert set(found) == {f"port {port}"}
    assert f"it is held by process {os.getpid()}: " in found[f"port {port}"]["text"]
    assert found[f"port {port}"]["mend"] == "graphkit serve REPOSITORY --port 0"


def test_five_faults_of_packages(machine: Machine) -> None:
    machine.remove("threadpoolctl.py")
    machine.forget("threadpoolctl")
    machine.remove("safetensors")
    machine.forget("safetensors")
    (machine.site / "safetensors.py").write_text('__version__ = "0.3.1"\n')
    machine.record("safetensors", "0.3.1")
    machine.forget("protobuf")
    machine.record("protobuf", "6.31.0")
    machine.record("onnxruntime_gpu", metadata.version("onnxruntime"))
    machine.replace("grpc", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    status, found = machine.doctor()
    assert status == 1
    assert set(found) == {"threadpoolctl", "safetensors", "protobuf", "onnxruntime", "grpcio"}
    assert {f["level"] for f in found.values()} == {"broken"}
    pip = f"{machine.python} -m pip"
    bounds = {r.name: str(r) for r in requirements() if not r.extra}
    assert {about: f["mend"] for about, f in found.items()} == {
        "threadpoolctl": f"{pip} install '{bounds['threadpoolctl']}'",
        "safetensors": f"{pip} install '{bounds['safetensors']}'",
        "protobuf": f"{pip} uninstall -y protobuf; {pip} install --force-reinstall '{bounds['protobuf']}'",
        "onnxruntime": f"{pip} uninstall -y onnxruntime onnxruntime-gpu; {pip} install 'onnxruntime-gpu[cuda,cudnn]'",
        "grpcio": f"{pip} install --force-reinstall '{bounds['grpcio']}'",
    }
    assert "not installed" in found["threadpoolctl"]["text"]
    assert "0.3.1" in found["safetensors"]["text"]
    assert f"it is {metadata.version('protobuf')}" in found["protobuf"]["text"]
    assert "overwrite each other" in found["onnxruntime"]["text"]
    assert "it ends Python by SIGSEGV" in found["grpcio"]["text"]


@pytest.mark.parametrize(
    ("module", "code", "name", "text", "mend"),
    [
        ("onnx", "raise ImportError('libodd.so.3: cannot open shared object file')", "onnx",
         "cannot be imported: ImportError: libodd.so.3", "-m pip install --force-reinstall 'onnx>="),
        ("numpy", "raise ImportError('libgomp.so.1: cannot open shared object file')", "numpy",
         "libgomp.so.1", "apt-get install -y libgomp1"),
        ("onnxruntime",
         "__version__ = '{version}'\ndef get_available_providers():\n    return ['OddExecutionProvider']",
         "onnxruntime", "no CPUExecutionProvider, only OddExecutionProvider", "install --force-reinstall onnxruntime"),
        ("grpc", "import six_of_the_best", "grpcio", "No module named 'six_of_the_best'",
         "-m pip install six_of_the_best"),
    ],
)  # fmt: skip
def test_a_broken_package(machine: Machine, module: str, code: str, name: str, text: str, mend: str) -> None:
    machine.replace(module, code.replace("{version}", metadata.version(name)))
    status, found = machine.doctor()
    assert status == 1
    assert name in found
    assert text in found[name]["text"]
    assert mend in found[name]["mend"]


def test_a_file_on_the_path_that_hides_a_package(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "safetensors.py").write_text("raise RuntimeError('not what you think')\n")
    machine.environment["PYTHONPATH"] = str(tmp_path / "mine")
    status, found = machine.doctor()
    assert status == 1
    assert set(found) == {"safetensors"}
    assert f"hidden by {tmp_path}/mine/safetensors.py" in found["safetensors"]["text"]
    assert found["safetensors"]["mend"] == "unset PYTHONPATH"
    (tmp_path / "mine" / "safetensors.py").write_text("x = 1\n")
    status, found = machine.doctor()
    assert status == 0
    assert f"{tmp_path}/mine/safetensors.py is imported in its place" in found["safetensors"]["text"]


def test_graphkit_that_nobody_installed(machine: Machine) -> None:
    machine.forget("graphkit")
    status, found = machine.doctor()
    assert status == 1
    assert found["graphkit"]["mend"] == f"{machine.python} -m pip install --force-reinstall graphkit"


def test_an_extra_that_is_missing_is_a_note(machine: Machine) -> None:
    for path in machine.site.glob("h5py-*.dist-info"):
        path.unlink()
    done = machine.run("-m", "graphkit_doctor", "--port", "0")
    assert done.returncode == 0
    (bounds,) = {r.bounds for r in requirements() if r.extra == "keras"}
    told = done.stdout.splitlines()
    place = next(n for n, line in enumerate(told) if line.startswith("note     extra keras: h5py"))
    assert told[place + 1].strip() == f"{machine.python} -m pip install 'h5py{bounds}'"


def test_the_command_works_where_graphkit_cannot_be_imported(machine: Machine) -> None:
    machine.replace("numpy", "raise ImportError('numpy is in pieces')")
    entry = "import sys; from graphkit_doctor.entry import main; sys.argv[0] = 'graphkit'; main()"
    done = machine.run("-c", entry, "doctor", "--port", "0")
    assert done.returncode == 1
    assert "broken   numpy: it cannot be imported: ImportError: numpy is in pieces" in done.stdout
    done = machine.run("-c", entry, "--version")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "graphkit cannot begin; `graphkit doctor` tells what is broken and how to mend it"
    )


def test_the_command_is_among_the_others() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json", "--port", "0"])
    found = json.loads(result.stdout)
    assert result.exit_code == int(found["broken"])
    assert found["facts"]["packages"]["numpy"] == metadata.version("numpy")
    result = CliRunner().invoke(app, ["doctor", "--port", "70000"])
    assert result.exit_code == 2
    assert "a port is a number from 0 to 65535, got 70000" in result.stderr


def test_text_that_is_not_utf_8(machine: Machine) -> None:
    machine.environment["PYTHONIOENCODING"] = "ascii"
    status, found = machine.doctor()
    assert status == 0
    assert {about: f["mend"] for about, f in found.items()} == {"PYTHONIOENCODING": "export PYTHONIOENCODING=utf-8"}
    assert "written as ascii" in found["PYTHONIOENCODING"]["text"]


def test_a_folder_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5_000_000))
    (finding,) = surroundings.temporary()
    assert (finding.level, finding.about) == ("warning", "temporary files")
    assert "5 MB left" in finding.text
    assert finding.mend.startswith("export TMPDIR=")


def test_a_gpu_build_without_its_libraries() -> None:
    names, fault = ["CUDAExecutionProvider", "CPUExecutionProvider"], "libcudnn.so.9: cannot open shared object file"
    result = Result({"names": names, "faults": {names[0]: fault}})
    (finding,) = examination.of_providers(result, known=False)
    assert (finding.level, finding.about) == ("warning", "onnxruntime")
    assert fault in finding.text
    assert finding.mend == f"{sys.executable} -m pip install 'onnxruntime-gpu[cuda,cudnn]'"
    (finding,) = examination.of_providers(Result({"names": names, "faults": {names[1]: "no kernel"}}), known=False)
    assert (finding.level, finding.text) == ("broken", "CPUExecutionProvider: no kernel")


def test_versions_are_compared_as_numbers() -> None:
    assert Requirement("a", ">=2.0").allows("10.1")
    assert Requirement("a", "<8,>=6.30").allows("7.0")
    assert not Requirement("a", "<8,>=6.30").allows("8.0.0")
    assert not Requirement("a", "<8,>=6.30").allows("6.4")
    assert Requirement("a", "==2.73.0").allows("2.73")
    assert Requirement("a", ">=1.0.0").allows("1")
    wanted = {r.name: r for r in requirements()}
    assert {"numpy", "ml_dtypes", "matplotlib"} <= set(wanted)
    assert {"plot", "test"} <= {r.extra for r in requirements() if r.name == "matplotlib"}
    assert wanted["numpy"].bounds.startswith(">=")


def test_it_rests_on_the_standard_library_alone() -> None:
    known = {*sys.stdlib_module_names, "graphkit_doctor"}
    for path in (ROOT / "graphkit_doctor").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= known, path
