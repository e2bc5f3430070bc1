"""The machine around Python: variables, threads, locale, temporary files, the server's port."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphkit_doctor.finding import Finding

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
LEAST_SPACE = 1 << 30
TESTED = ("Linux", "x86_64")


def variables(cores: int) -> Iterator[Finding]:
    """Environment variables that name no number of threads or too many, a proxy for this machine itself, and the like.

    cores: how many processors may be used.
    """
    for name in THREADS:
        value = os.environ.get(name)
        first = (value or "").split(",")[0].strip()
        if value and not (first.isdecimal() and int(first)):
            yield Finding("warning", name, f"{value!r} is no number of threads, and is not heeded", f"unset {name}")
        elif value and int(first) > cores:
            text = f"{first} threads on {cores} processors wait for each other"
            yield Finding("warning", name, text, f"export {name}={cores}")
    if os.environ.get("ORT_LOAD_CONFIG_FROM_MODEL", "0") not in ("", "0"):
        text = "a model file would set the options of the runtime; the server does not start with it"
        yield Finding("broken", "ORT_LOAD_CONFIG_FROM_MODEL", text, "unset ORT_LOAD_CONFIG_FROM_MODEL")
    proxy = next((name for name in PROXIES if os.environ.get(name)), None)
    spared = next((os.environ[name] for name in EXCEPTIONS if os.environ.get(name)), "")
    if proxy and not {"127.0.0.1", "localhost", "*"} & {host.strip() for host in spared.split(",")}:
        text = f"gRPC clients but serve.Client send calls to this machine through {os.environ[proxy]} too"
        yield Finding("warning", proxy, text, "export no_proxy=localhost,127.0.0.1")


def protobuf(kind: str) -> Iterator[Finding]:
    """protobuf in plain Python, which is many times slower.

    kind: upb, cpp or python, as protobuf says.
    """
    if kind == "python":
        name = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
        text = "protobuf runs in plain Python, many times slower"
        mend = f"unset {name}" if name in os.environ else f"{sys.executable} -m pip install --force-reinstall protobuf"
        yield Finding("warning", "protobuf", text, mend)


def locale(found: Mapping[str, Any]) -> Iterator[Finding]:
    """Locales that are not on this machine; text that is not written as UTF-8.

    found: what the probe `text` gave.
    """
    for name, fault in found["faults"].items():
        text = f"this machine has no locale {os.environ.get(name, '')!r}: {fault}"
        yield Finding("warning", name, text, f"export {name}=C.UTF-8")
    if found["encoding"].lower().replace("-", "") != "utf8":
        text = f"text is written as {found['encoding']}, which has no room for all letters"
        yield Finding("warning", "PYTHONIOENCODING", text, "export PYTHONIOENCODING=utf-8")


def temporary() -> Iterator[Finding]:
    """A folder for temporary files that cannot be written, or has no room."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        folder = os.environ.get(name)
        fault = _unwritable(folder) if folder else ""
        if fault:
            text = f"{folder!r} takes no files ({fault}); exports and the server write there"
            yield Finding("broken", name, text, f"unset {name}")
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        yield Finding("broken", "temporary files", str(error), "mkdir -p -m 1777 /tmp")
        return
    free = shutil.disk_usage(folder).free
    if free < LEAST_SPACE:
        text = f"{folder} has {free / 1e6:.0f} MB left; the server copies a model there before it loads it"
        yield Finding("warning", "temporary files", text, "export TMPDIR=/path/with/space")


def _unwritable(folder: str) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def port(host: str, number: int) -> Iterator[Finding]:
    """The server's port, taken by someone."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            text = f"{host}:{number} cannot be listened on: {error.strerror}; it is held by {owner(number)}"
            yield Finding("warning", f"port {number}", text, "graphkit serve REPOSITORY --port 0")


def owner(number: int) -> str:
    """Who listens on a port, as far as this user may see."""
    sockets = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        rows = table.read_text().splitlines()[1:] if table.is_file() else []
        cells = [row.split() for row in rows]
        sockets |= {f"socket:[{c[9]}]" for c in cells if int(c[1].rpartition(":")[2], 16) == number and c[3] == "0A"}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            held = {os.readlink(link) for link in folder.iterdir()}
            command = (folder.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # another user's, or it has ended
            continue
        if held & sockets:
            return f"process {folder.parent.name}: {command[:120]}"
    return "a process that this user may not see"


def system() -> Iterator[Finding]:
    """A system on which graphkit is not tested."""
    if (platform.system(), platform.machine()) != TESTED:
        text = f"{platform.system()} on {platform.machine()} is untested; Linux on x86-64 is tested"
        yield Finding("note", "system", text, "make test")


def graphics(cuda: bool) -> Iterator[Finding]:
    """A GPU that this build of onnxruntime does not use.

    cuda: whether it has the provider for it.
    """
    if Path("/dev/nvidia0").exists() and not cuda:
        pip = f"{sys.executable} -m pip"
        text = "there is an NVIDIA GPU, and this onnxruntime serves on processors alone"
        mend = f"{pip} uninstall -y onnxruntime; {pip} install 'onnxruntime-gpu[cuda,cudnn]'"
        yield Finding("note", "GPU", text, mend)
