"""The standard health service over the data plane: Check, List and Watch.

The empty name and the inference service stand for the server's readiness; each model has its
name, each version `model/version` (gRPC health checking protocol, grpc.health.v1).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from serve.dataplane import DataPlane
from serve.errors import NotFoundError
from serve.messages import HEALTH, INFERENCE, HealthCheckResponse, HealthListResponse


class Health:
    """What probes and balancers are told; lives on one event loop."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._changes: set[asyncio.Event] = set()
        self._closed = False

    def changed(self) -> None:
        """Let every Watch look again; to be called after each change of the data plane."""
        for change in self._changes:
            change.set()

    def close(self) -> None:
        """End every Watch once it has sent the last state."""
        self._closed = True
        self.changed()

    def check(self, request: Any) -> Any:
        """Answer the state of one name now; NotFoundError for a name that stands for nothing."""
        state = self._states().get(request.service)
        if state is None:
            raise NotFoundError(
                f"health of {request.service!r} is not known here; ask for '', '{INFERENCE}', "
                "a model's name or model/version"
            )
        return _response(state)

    def list(self, _request: Any) -> Any:
        """Answer every name with its state."""
        states = self._states()
        return HealthListResponse(statuses={name: _response(state) for name, state in states.items()})

    async def watch(self, request: Any) -> AsyncIterator[Any]:
        """Give the state now and at each change; SERVICE_UNKNOWN while the name is unknown."""
        change = asyncio.Event()
        self._changes.add(change)
        last = ""
        try:
            while True:
                change.clear()
                closed = self._closed  # looked at before the state, which may change while one is sent
                state = self._states().get(request.service, "SERVICE_UNKNOWN")
                if state != last:
                    last = state
                    yield _response(state)
                if closed:
                    return
                await change.wait()
        finally:
            self._changes.discard(change)

    def _states(self) -> dict[str, str]:
        plane = self._plane
        server = _word(plane.is_ready)
        states = {"": server, INFERENCE: server, HEALTH: server}
        for model in plane.repository:
            states[model.name] = _word(bool(model.ready) and plane.is_serving)
            for number, version in model.versions.items():
                ready = version.session is not None and plane.is_serving
                states[f"{model.name}/{number}"] = _word(ready)
        return states


def _word(ready: bool) -> str:
    return "SERVING" if ready else "NOT_SERVING"


def _response(state: str) -> Any:
    return HealthCheckResponse(status=HealthCheckResponse.ServingStatus.Value(state))
