"""The client of the load test, a process of its own: python -m benchmarks.load_client JSON

Prints one measurement as JSON: requests a second, latencies, the processor time that the client itself took.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import grpc
import numpy as np

from benchmarks import serve_models
from serve.messages import INFERENCE, ModelInferRequest, service_methods
from serve.tls import ClientTls

METHOD = service_methods(INFERENCE)["ModelInfer"].path
CALLERS_A_CHANNEL, OPEN_CHANNELS = 6, 4
KINDS = {"int64": "INT64", "float32": "FP32"}


@dataclass(frozen=True)
class Target:
    """A server: its port; over TLS where `ca` is the file of its authority; `deadline`: one for each request."""

    port: int
    ca: str = ""
    token: str = ""
    deadline: bool = False

    def channel(self, kind: Any) -> Any:
        """Open a channel of `grpc` or `grpc.aio`, with a connection of its own."""
        address, options = f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)]
        if not self.ca:
            return kind.insecure_channel(address, options=options)
        return kind.secure_channel(address, ClientTls(self.ca).credentials(), options=options)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


@dataclass(frozen=True)
class Order:
    """What to measure: a closed loop of `amount` callers, or an open one at that rate."""

    target: Target
    kind: str
    model: str
    amount: float
    seconds: float

    def command(self) -> list[str]:
        """The command of the client process."""
        return [sys.executable, "-m", "benchmarks.load_client", json.dumps(asdict(self))]


def request_bytes(model: str, row: int) -> bytes:
    """A request of one row."""
    request = ModelInferRequest(model_name=model)
    for name, array in serve_models.rows(model, 1, row).items():
        request.inputs.add(name=name, datatype=KINDS[str(array.dtype)], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    data: bytes = request.SerializeToString()
    return data


class Load:
    """The calls over several channels, each of several callers."""

    def __init__(self, order: Order, channels: int) -> None:
        self._target = order.target
        self._channels = [order.target.channel(grpc.aio) for _ in range(channels)]
        self._calls = [channel.unary_unary(METHOD) for channel in self._channels]
        self._requests = [request_bytes(order.model, row) for row in range(16)]
        self.seconds: list[float] = []

    async def one(self, number: int) -> None:
        """One request; its duration is kept."""
        begin = time.perf_counter()
        limit = 5 + number % 97 / 50 if self._target.deadline else None
        call = self._calls[number % len(self._calls)]
        await call(self._requests[number % 16], timeout=limit, metadata=self._target.metadata)
        self.seconds.append(time.perf_counter() - begin)

    async def closed(self, callers: int, seconds: float) -> None:
        """Each caller sends its next request once its last one is answered."""
        end = time.perf_counter() + seconds

        async def caller(number: int) -> None:
            while time.perf_counter() < end:
                await self.one(number)
                number += 1

        await asyncio.gather(*(caller(number) for number in range(callers)))

    async def opened(self, rate: float, seconds: float, random: np.random.Generator, least: int = 0) -> None:
        """Requests leave at random moments, `rate` of them a second; the wait for a late start counts too."""
        begin = time.perf_counter()
        moments = np.cumsum(random.exponential(1 / rate, max(least, int(rate * seconds))))
        tasks = []

        async def due(number: int, moment: float) -> None:
            try:
                await self.one(number)
                self.seconds[-1] = time.perf_counter() - moment
            except grpc.aio.AioRpcError:  # refused or too late
                self.seconds.append(math.inf)

        for number, moment in enumerate((begin + moments).tolist()):
            if (left := moment - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            tasks.append(asyncio.ensure_future(due(number, moment)))
        await asyncio.gather(*tasks)

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            await channel.close()


async def measure(order: Order) -> dict[str, float]:
    """One measurement, after a short warm-up."""
    closed, amount = order.kind == "closed", order.amount
    load = Load(order, max(1, int(amount) // CALLERS_A_CHANNEL) if closed else OPEN_CHANNELS)
    random = np.random.default_rng(int(amount))
    if closed:
        await load.closed(int(amount), 0.3)
    else:
        await load.opened(amount, 0.3, random)
    load.seconds, begin, used = [], time.perf_counter(), time.process_time()
    if closed:
        await load.closed(int(amount), order.seconds)
    else:
        await load.opened(amount, order.seconds, random, least=500)
    took, used = time.perf_counter() - begin, time.process_time() - used
    await load.close()
    p50, p99 = np.percentile(load.seconds, [50, 99])
    count = len(load.seconds)
    return {"count": count, "rate": count / took, "p50": p50, "p99": p99, "client_us": used / count * 1e6}


def main() -> None:
    """Measure what the argument says."""
    told = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(measure(Order(Target(**told.pop("target")), **told)))))


if __name__ == "__main__":
    main()
