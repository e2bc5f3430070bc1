"""`graphkit inspect`: what stands in an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from graphkit.cli.failing import told
from graphkit.export.describe import description
from graphkit.export.file import OnnxFile

LARGEST = 5

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, with every weight.")]


def inspect(
    file: Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)], as_json: AsJson = False
) -> None:
    """Tell what stands in an ONNX file, whoever wrote it: ends, signatures, ops, weights, versions, report.

    graphkit inspect model.onnx

    graphkit inspect model.onnx --json
    """
    with told("inspect"):
        found = description(OnnxFile.read(file))
    typer.echo(json.dumps(found) if as_json else in_words(found))


def in_words(found: dict[str, Any]) -> str:
    """The description in words."""
    weights, noted = found["weights"], found["graphkit"]
    largest = sorted(weights, key=lambda w: -w["bytes"])[:LARGEST]
    opsets = ", ".join(f"{domain} {version}" for domain, version in found["opsets"].items())
    lines = [
        f"{found['file']}: {found['bytes']:,} bytes, by {found['producer'] or 'a writer that gives no name'}",
        f"opset: {opsets}; IR {found['ir_version']}",
        *(f"external data: {n}, {'missing' if s is None else f'{s:,} bytes'}" for n, s in found["external"].items()),
        *(f"{side}  {_end(end)}" for side in ("inputs", "outputs") for end in found[side]),
        f"ops: {sum(found['ops'].values())}: {', '.join(f'{name} {count}' for name, count in found['ops'].items())}",
        f"weights: {len(weights)} of {sum(w['bytes'] for w in weights):,} bytes"
        + (", the largest:" if len(weights) > LARGEST else ""),
        *(f"  {w['name']}: {w['dtype']} {w['shape']}" for w in largest),
    ]
    if noted:
        lines += _noted(noted)
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in found["metadata"].items())])


def _end(end: dict[str, Any]) -> str:
    dims = "any rank" if end["shape"] is None else ", ".join(map(str, end["shape"]))
    return f"{end['name']}: {end['dtype']} [{dims}]"


def _noted(noted: dict[str, Any]) -> list[str]:
    """What graphkit noted, a line each; signatures and report with their own lines."""
    lines = [f"graphkit {noted.get('version', 'of unknown version')}"]
    for name, ends in noted.get("signatures", {}).items():
        sides = [", ".join(e["name"] for e in ends[side]) for side in ("inputs", "outputs")]
        lines.append(f"signature {name}: {sides[0]} -> {sides[1]}")
    lines += [f"ids of {name}: {low} to {high - 1}" for name, (low, high) in noted.get("id_ranges", {}).items()]
    if "weights_sha256" in noted:
        lines.append(f"weights sha256: {noted['weights_sha256']}")
    report = noted.get("report")
    if not report:
        return [*lines, "the file was written without comparing its answers"]
    lines.append(f"compared with predict at {len(report['sizes'])} sizes, {report['tolerance']:.0e} allowed")
    return lines + [f"  {n}: largest difference {w['error']:.2e}" for n, w in report.get("outputs", {}).items()]
