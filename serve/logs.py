"""The log: one line for each record, as text or as JSON, and a line for each request without its tensors."""

import json
import logging
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from serve.errors import Code, ServerError
from serve.inference import Inference

#: The name of the token with which the call of this moment is made.
CALLER: ContextVar[str] = ContextVar("caller", default="")
#: Callers' words are cut to this many characters.
LONGEST = 200

_ESCAPES = {code: ascii(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}

_requests = logging.getLogger("serve.requests")


class JsonLines(logging.Formatter):
    """A record as one JSON object of ASCII characters, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message and, where there are some, fields and exception."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class TextLines(logging.Formatter):
    """LEVEL logger: message without control characters, then fields as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception takes several."""
        fields = _fields(record)
        return super().format(record) + (f" {json.dumps(fields)}" if fields else "")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the line without fields and exception."""
        return super().formatMessage(record).translate(_ESCAPES)


def start_log(as_json: bool, requests: bool) -> None:
    """Write records of level INFO to the standard error stream; each request only where asked for."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else TextLines("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    _requests.setLevel(logging.INFO if requests else logging.WARNING)


def call_log(name: str, code: str, caller: str | None = None, **fields: Any) -> None:
    """Write the line of one call, with its caller: of this moment, or told."""
    if _requests.isEnabledFor(logging.INFO):
        caller = CALLER.get() if caller is None else caller
        told = {"call": name, "status": code, **({"caller": caller} if caller else {}), **fields}
        _requests.info("%s %s", name, code, extra={"fields": told})


class Entry:
    """What is told of one inference."""

    def __init__(self, size: int) -> None:
        """Begin with the size of the message in bytes; the caller is the one of this moment."""
        self._caller = CALLER.get()
        self._begun = time.perf_counter_ns()
        self._fields: dict[str, Any] = {"bytes": size}
        self.inference: Inference | None = None

    @classmethod
    def where_wanted(cls, size: int) -> "Entry | None":
        """Return an entry, None where requests are not logged."""
        return cls(size) if _requests.isEnabledFor(logging.INFO) else None

    def asked(self, request: Any) -> None:
        """Keep the words of a ModelInferRequest by which its caller will look for it."""
        words = {"id": request.id, "model": request.model_name, "version": request.model_version}
        self._fields |= {key: word[:LONGEST] for key, word in words.items() if word}

    def write(self, code: str) -> None:
        """Write the line; no code is the one of a request whose caller is gone."""
        inference, fields = self.inference, self._fields
        outcome = None if inference is None else inference.outcome
        if not code:
            code = (outcome.code if isinstance(outcome, ServerError) else Code.CANCELLED).value
        if inference is not None:
            fields |= {"version": str(inference.version), "signature": inference.session.signature.name}
            fields["rows"] = inference.rows
            if inference.spans is not None:
                spans = inference.spans
                fields["queue_ms"] = _milliseconds(max(0, inference.started - inference.received))
                fields["compute_ms"] = _milliseconds(spans.input + spans.infer + spans.output)
        fields["whole_ms"] = _milliseconds(time.perf_counter_ns() - self._begun)
        call_log("ModelInfer", code, self._caller, **fields)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = record.__dict__.get("fields", {})
    return fields


def _milliseconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 3)
