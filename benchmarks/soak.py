"""A million mixed requests, every answer checked: python -m benchmarks.soak [--requests 1000000] [--seed 0]

64 callers ask one server (`python -m serve`, a process of its own) for the models of `soak_models`, of which another
one gets a new version every two seconds. 2 % of the requests are malformed, 2 % are withdrawn at a moment of the time
that an answer takes at present, the time of 1 % is as short. Input is drawn for each request from (seed, caller); what
is right is a formula in float64 with the weights of the version that answered, and that version must be the one asked
for, or the newest at that time.

In the end the server's own counts must equal the callers': accepted = succeeded + failed + cancelled + timed out. The
server's memory must stay within 20 MB once a tenth of the requests is through. Writes DATE-soak.jsonl.gz (a line every
few seconds) and DATE-soak.md into benchmarks/results.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks import soak_models as models
from benchmarks import soak_requests as requests
from benchmarks.server_process import ServerProcess
from benchmarks.soak_report import FIGURES, ROOT, Outcome, Settings, compare, flatness, head, page, scraped
from serve.messages import INFERENCE, ModelInferResponse, service_methods

METHODS = service_methods(INFERENCE)
CHANNELS, KEPT_VERSIONS = 8, 3
MALFORMED, CANCELLED, LATE = 0.02, 0.02, 0.01
ENDLESS = 1 / 3


class Soak:
    """The callers, the loader of versions and the log of one run."""

    def __init__(self, settings: Settings, repository: Path, address: str) -> None:
        self.settings, self._repository = settings, repository
        local = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(address, options=local) for _ in range(CHANNELS)]
        self._calls = [channel.unary_unary(METHODS["ModelInfer"].path) for channel in self._channels]
        self._begun = dict.fromkeys((*models.RELOADED, "count"), 1)
        self._ready = dict(self._begun)
        self._ends = time.monotonic() + (inf if settings.seconds is None else settings.seconds)
        self.outcome = Outcome()
        self._over = asyncio.Event()
        self.durations: list[float] = []
        self._pace = 0.01  # seconds to an answer, at present
        self.loads = 0

    async def run(self, server: ServerProcess, metrics: str) -> Outcome:
        """Send everything, then compare the counts."""
        outcome, settings = self.outcome, self.settings
        began = time.monotonic()
        share = [len(range(number, settings.requests, settings.callers)) for number in range(settings.callers)]
        async with asyncio.TaskGroup() as beside:
            beside.create_task(self._reload())
            beside.create_task(self._sample(server, began))
            await asyncio.gather(*(self._caller(number, count) for number, count in enumerate(share)))
            self._over.set()
        outcome.figures["seconds"] = time.monotonic() - began
        outcome.samples.append(self._figures(server, began))
        outcome.server = await self._settled(metrics)
        for channel in self._channels:
            await channel.close()
        outcome.figures |= {"loads": self.loads, **compare(outcome), **flatness(outcome)}
        return outcome

    async def _caller(self, number: int, count: int) -> None:
        draw = requests.Draw((self.settings.seed, number))
        call = self._calls[number % CHANNELS]
        for turn in range(count):
            if time.monotonic() > self._ends:
                return
            self.outcome.counts["sent"] += 1
            fate = draw.choice.random()
            if fate < MALFORMED:
                await self._malformed(draw, call)
            elif fate < MALFORMED + CANCELLED:
                await self._cancelled(draw, call)
            elif fate < MALFORMED + CANCELLED + LATE:
                await self._late(draw, call)
            else:
                await self._plain(self._asked(draw, f"{number}.{turn}"), call)

    def _asked(self, draw: requests.Draw, name: str) -> requests.Asked:
        """A good request; one in five names one of the two newest versions."""
        asked = draw.request()
        asked.id = name
        if draw.choice.random() < 0.2:
            asked.version = str(max(1, self._ready[asked.model] - draw.choice.randrange(2)))
        return asked

    async def _plain(self, asked: requests.Asked, call: Any) -> None:
        began = time.perf_counter()
        status = await self._answered(asked, call(asked.message()), self._ready[asked.model])
        self.durations.append(took := time.perf_counter() - began)
        self._pace += (took - self._pace) / 100
        if status != "OK":
            self.outcome.wrong(f"{asked.model} {asked.id}: {status}")

    async def _malformed(self, draw: requests.Draw, call: Any) -> None:
        data, wanted = draw.malformed()
        try:
            await call(data)
            status = "OK"
        except grpc.aio.AioRpcError as error:
            status = error.code().name
        self.outcome.counts[status] += 1
        self.outcome.counts["malformed"] += 1
        if status != wanted:
            self.outcome.wrong(f"malformed: {status}, not {wanted}: {data[:200]!r}")

    async def _cancelled(self, draw: requests.Draw, call: Any) -> None:
        """One of three would run for ever; the others may be answered first."""
        endless = draw.choice.random() < ENDLESS
        asked = draw.count(requests.LONG) if endless else draw.request()
        sent = call(asked.message())
        ready = self._ready[asked.model]
        await asyncio.sleep(draw.choice.random() * self._pace * (1 + endless))
        sent.cancel()
        self.outcome.counts["withdrawn"] += 1
        status = await self._answered(asked, sent, ready)
        if status not in ("OK", "CANCELLED"):
            self.outcome.wrong(f"withdrawn {asked.model}: {status}")

    async def _late(self, draw: requests.Draw, call: Any) -> None:
        """An endless run, a deadline that is too short for most, or hardly any time in the queue."""
        way, limit = draw.choice.random(), draw.choice.random()
        if way < ENDLESS:
            asked, seconds = draw.count(requests.LONG), 2 * self._pace * limit
        elif way < 0.8:
            asked, seconds = draw.request(), self._pace * limit
        else:
            asked, seconds = draw.count(2000), 60.0
            asked.queue_microseconds = 1 + int(500 * limit)
        self.outcome.counts["short of time"] += 1
        status = await self._answered(asked, call(asked.message(), timeout=seconds), self._ready[asked.model])
        if status not in (("DEADLINE_EXCEEDED",) if way < ENDLESS else ("OK", "DEADLINE_EXCEEDED")):
            self.outcome.wrong(f"short of time {asked.model}: {status}")

    async def _answered(self, asked: requests.Asked, call: Any, least: int) -> str:
        """Return the status; an answer must be right, and of a version between `least` and the newest."""
        try:
            response = ModelInferResponse.FromString(await call)
            status = "OK"
            if reason := requests.fault(asked, response, range(least, self._begun[asked.model] + 1)):
                self.outcome.wrong(f"{asked.model}:{asked.signature} {asked.id}: {reason}")
        except grpc.aio.AioRpcError as error:
            status = error.code().name
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            status = "CANCELLED"
        self.outcome.counts[status] += 1
        return status

    async def _reload(self) -> None:
        """Load another version of the next model at each tick."""
        load = self._channels[0].unary_unary(METHODS["RepositoryModelLoad"].path)
        tick = time.monotonic() + self.settings.reload_seconds
        while not await self._is_over(tick - time.monotonic()):
            tick += self.settings.reload_seconds
            name = models.RELOADED[self.loads % len(models.RELOADED)]
            version = self._begun[name] + 1
            await asyncio.to_thread(models.write, self._repository, name, version)
            self._begun[name] = version
            try:
                await load(METHODS["RepositoryModelLoad"].request(model_name=name).SerializeToString())
            except grpc.aio.AioRpcError as error:
                self.outcome.wrong(f"load of version {version} of {name}: {error.code().name} {error.details()}")
                return
            self._ready[name] = version
            self.loads += 1
            shutil.rmtree(self._repository / name / str(version - KEPT_VERSIONS), ignore_errors=True)

    async def _sample(self, server: ServerProcess, began: float) -> None:
        while not await self._is_over(self.settings.sample_seconds):
            self.outcome.samples.append(await asyncio.to_thread(self._figures, server, began))

    async def _is_over(self, seconds: float) -> bool:
        """Wait so long, or for the end of the callers; whether it has come."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), max(0.0, seconds))
        return self._over.is_set()

    def _figures(self, server: ServerProcess, began: float) -> dict[str, Any]:
        durations, self.durations = self.durations, []
        p50, p99 = np.percentile(durations, [50, 99]) * 1e3 if durations else (0, 0)
        counts, used = self.outcome.counts, server.memory()
        return {"t": round(time.monotonic() - began, 1), "sent": counts["sent"], "ok": counts["OK"],
                "p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "loads": self.loads, "problems": counts["problem"],
                **{name: round(used[name], 2) for name in FIGURES},
                "server_cpu_s": round(server.processor_seconds(), 1)}  # fmt: skip

    async def _settled(self, metrics: str) -> dict[str, int]:
        """The server's counts once nothing is open: runs of withdrawn requests end within moments."""
        until = time.monotonic() + 30
        while True:
            found = await asyncio.to_thread(scraped, metrics)
            if (not found["open"] and found["accepted"] == found["ended"]) or time.monotonic() > until:
                return found
            await asyncio.sleep(0.1)


def soak(settings: Settings, folder: Path) -> Outcome:
    """Start a server over a repository in the folder, send all requests, stop it; its status must be 0."""
    repository = folder / "repository"
    for name in (*models.RELOADED, "count"):
        models.write(repository, name, 1)
    command = [sys.executable, "-m", "serve", str(repository), "--port", "0", "--metrics-port", "0", "--open-admin",
               "--model-control", "explicit", "--load-model", "*",
               "--version-policy", f"latest:{KEPT_VERSIONS}"]  # fmt: skip
    with (folder / "server.log").open("w+") as log:
        server = ServerProcess(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)
        try:
            told = [server.process.stdout.readline() for _ in range(2)]
            if not told[1]:
                raise RuntimeError(f"no server: {(folder / 'server.log').read_text()}")
            address, metrics = (line.split()[-1] for line in told)
            outcome = asyncio.run(_run(settings, repository, address, server, metrics))
        finally:
            status = server.close()
            server.process.stdout.close()
        log.seek(0)
        said = [line for line in log if not line.startswith("INFO ")]
        if status or said:
            outcome.wrong(f"the server ended with {status} and said: {''.join(said)[-2000:]}")
    return outcome


async def _run(settings: Settings, repository: Path, address: str, server: ServerProcess, metrics: str) -> Outcome:
    return await Soak(settings, repository, address).run(server, metrics)


def main() -> int:
    """Run, write log and page, print the page; 1 where there was a problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=Settings.requests)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--seconds", type=float, help="end after so many in any case")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of log and page")
    arguments = parser.parse_args()
    settings = Settings(arguments.requests, arguments.seed, seconds=arguments.seconds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    start = head(settings)
    with tempfile.TemporaryDirectory() as folder:
        outcome = soak(settings, Path(folder))
    name = f"{datetime.now(UTC):%Y-%m-%d-%H%M}-soak"
    end = {"figures": outcome.figures, "problems": outcome.problems}
    with gzip.open(arguments.out / f"{name}.jsonl.gz", "wt") as log:
        log.writelines(json.dumps(line) + "\n" for line in (start, *outcome.samples, end))
    text = page(start, outcome)
    (arguments.out / f"{name}.md").write_text(text)
    print(text)
    return bool(outcome.problems)


if __name__ == "__main__":
    sys.exit(main())
