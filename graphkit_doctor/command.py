"""`graphkit doctor`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from graphkit_doctor.examination import Examination, examination

EXAMPLES = """examples:
  graphkit doctor
  graphkit doctor --json
  graphkit doctor --port 9001

exit status: 0 nothing is broken (there may be warnings), 1 something is broken, 2 the command line is wrong
"""


def main(arguments: Sequence[str], program: str = "graphkit doctor") -> int:
    """Examines, tells, and gives the exit status."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Tell what is wrong with this machine, and the command that mends it. Nothing is changed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON: broken, findings and facts")
    parser.add_argument("--host", default="127.0.0.1", help="the address of the server to be; %(default)s")
    parser.add_argument("--port", type=_port, default=8001, help="its port; %(default)s")
    options = parser.parse_args(arguments)
    found = examination(options.host, options.port)
    print(json.dumps(found.as_dict()) if options.json else told(found))
    return int(found.broken)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, got {number}")
    return number


def told(found: Examination) -> str:
    """The facts, then what is wrong with its remedy, then a line for all of it."""
    facts, findings = found.facts, found.findings
    lines = [f"{name:<12}{text}" for name, text in _facts(facts).items()]
    lines.append("")
    for finding in findings:
        lines += [f"{finding.level:<9}{finding.about}: {finding.text}", f"{'':9}{finding.mend}"]
    broken, warnings = (sum(f.level == level for f in findings) for level in ("broken", "warning"))
    end = f"{broken} broken, {warnings} to be warned of" if broken or warnings else "nothing is broken"
    return "\n".join([*lines, *([""] if findings else []), end])


def _facts(facts: dict[str, Any]) -> dict[str, str]:
    processors, temporary, providers = facts["processors"], facts["temporary files"], facts["providers"]
    memory = f", {processors['memory'] / 1e9:.1f} GB of memory free" if "memory" in processors else ""
    return {
        "python": f"{facts['python']}, {facts['system']}",
        "packages": ", ".join(f"{name} {version or 'missing'}" for name, version in facts["packages"].items()),
        "processors": f"{processors['usable']} usable of {processors['of the machine']}{memory}",
        "BLAS": _unknown(facts["blas"]) or _blas(facts["blas"]),
        "providers": _unknown(providers) or ", ".join(providers["names"]),
        "temporary": f"{temporary['folder']}, {temporary['free_bytes'] / 1e9:.1f} GB free",
        "variables": " ".join(f"{name}={value}" for name, value in facts["variables"].items()) or "none that matter",
    }


def _unknown(fact: Any) -> str:
    return f"unknown: {fact['unknown']}" if isinstance(fact, dict) and "unknown" in fact else ""


def _blas(found: list[dict[str, Any]]) -> str:
    keys = ("internal_api", "version", "architecture")
    named = (f"{' '.join(str(b[k]) for k in keys if b[k])}, {b['num_threads']} threads" for b in found)
    return "; ".join(named) or "none that is known, so products of matrices may be slow"
