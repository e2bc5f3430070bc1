"""All of it: what there is, and what is wrong with it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from graphkit_doctor import imports, packages, surroundings
from graphkit_doctor.finding import Finding, install
from graphkit_doctor.running import Result, run

PROBES = ("blas", "processors", "providers", "protobuf", "text")
PREFIXES = ("OMP_", "OPENBLAS_", "MKL_", "ORT_", "GRPC_", "PROTOCOL_BUFFERS_", "PYTHON", "LC_", "CUDA_")
SINGLE = ("LANG", "TMPDIR", *surroundings.PROXIES, *surroundings.EXCEPTIONS)


@dataclass(frozen=True)
class Examination:
    """What there is by name, and the findings, the worst first."""

    facts: dict[str, Any]
    findings: list[Finding]

    @property
    def broken(self) -> bool:
        """Whether something does not work."""
        return any(finding.level == "broken" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"broken": self.broken, "findings": [asdict(f) for f in self.findings], "facts": self.facts}


def examination(host: str, port: int) -> Examination:
    """Looks at packages, imports and surroundings; starts children, changes nothing."""
    there, asked = packages.installed(), packages.requirements()
    results = run([*imports.tasks(asked), *(f"probe:{name}" for name in PROBES)])
    probed = {name: results[f"probe:{name}"] for name in PROBES}
    cores = len(os.sched_getaffinity(0))
    if not probed["processors"].error:
        cores = probed["processors"].found["server"]
    findings = [*packages.examine(there, asked), *imports.examine(asked, there, results)]
    findings += of_providers(probed["providers"], any(f.level == "broken" for f in findings))
    findings += surroundings.variables(cores)
    findings += surroundings.protobuf("" if probed["protobuf"].error else probed["protobuf"].found)
    findings += surroundings.locale(probed["text"].found)
    findings += [*surroundings.temporary(), *surroundings.port(host, port), *surroundings.system()]
    order = ("broken", "warning", "note")
    facts = _facts(there, asked, probed, cores)
    return Examination(facts, sorted(findings, key=lambda f: order.index(f.level)))


def of_providers(result: Result, known: bool) -> Iterator[Finding]:
    """What is wrong with onnxruntime's providers; an import that failed is told elsewhere.

    known: whether something is broken already, which may be why.
    """
    if result.error:
        if not known:
            yield Finding("broken", "onnxruntime", result.error, install("onnxruntime", again=True))
        return
    names, faults = result.found["names"], result.found["faults"]
    if "CPUExecutionProvider" not in names:
        text = f"this build has no CPUExecutionProvider, only {', '.join(names) or 'none'}"
        yield Finding("broken", "onnxruntime", text, install("onnxruntime", again=True))
    cuda = "CUDAExecutionProvider"
    for name, fault in faults.items():
        if not known and name != cuda:
            yield Finding("broken", "onnxruntime", f"{name}: {fault}", install("onnxruntime", again=True))
        elif name == cuda:
            yield Finding("warning", "onnxruntime", f"{name}: {fault}", install("onnxruntime-gpu[cuda,cudnn]"))
    yield from surroundings.graphics(cuda in names)


def _facts(
    there: dict[str, list[packages.Installed]],
    asked: list[packages.Requirement],
    probed: Mapping[str, Result],
    cores: int,
) -> dict[str, Any]:
    names = ["graphkit", *(wanted.name for wanted in asked if not wanted.extra)]
    found = {name: packages.provider(name, there) for name in names}
    given = {n: v for n, v in sorted(os.environ.items()) if n.startswith(PREFIXES) or n in SINGLE}
    try:
        temporary = tempfile.gettempdir()
        space = shutil.disk_usage(temporary).free
    except FileNotFoundError:
        temporary, space = "", 0
    return {
        "python": f"{platform.python_version()} at {sys.executable}",
        "system": platform.platform(),
        "packages": {name: one.version if one else None for name, one in found.items()},
        "processors": {"of the machine": os.cpu_count(), "usable": cores, **(probed["processors"].found or {})},
        **{n: {"unknown": r.error} if r.error else r.found for n, r in probed.items() if n != "processors"},
        "temporary files": {"folder": temporary, "free_bytes": space},
        "variables": given,
    }
