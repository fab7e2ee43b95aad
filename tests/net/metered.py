"""A relay in this process whose budget the test holds, greedy load from outside, and a record of what moved."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.programs import Programs, build

from tests.net.lab.namespaces import Host, Lab
from tests.peerlab import eventually
from towpath._native.budget import Budget
from towpath._native.circuit import Circuit
from towpath._native.endpoint import Endpoint
from towpath._native.hop import Relay, Verdict
from towpath._native.reactor import Reactor

_SAMPLE = 0.01
_OK = 100


class Everybody:
    """A policy that admits everybody."""

    def reserve(self, *_: Any) -> Verdict:
        return Verdict(_OK, 3600)

    def connect(self, *_: Any) -> Verdict:
        return Verdict(_OK)


@dataclass(frozen=True)
class Wire:
    """Two network namespaces joined by a cable; the relay's end has the address 10.77.0.1."""

    relay: Host
    clients: Host
    cable: str
    """The name of its interface at the relay's end."""


@contextmanager
def wire() -> Iterator[Wire]:
    """The two namespaces, for as long as the block lasts."""
    with Lab() as lab:
        relay, clients = lab.host("relay"), lab.host("clients")
        cable, their_end = lab.link(relay, clients, "10.77.0.0/24")
        # In large pieces, as a network card takes them: what it adds to each packet is not the relay's.
        for host, link in ((relay, cable), (clients, their_end)):
            host.ip(f"link set {link} gso_max_segs 65535")
        yield Wire(relay, clients, cable)


@dataclass(frozen=True)
class Sample:
    at: float
    received: int
    sent: int
    seen_in: int
    """by the interface"""
    seen_out: int

    def since(self, before: "Sample") -> tuple[int, int]:
        """The larger of both directions at the sockets, and at the interface."""
        return (
            max(self.received - before.received, self.sent - before.sent),
            max(self.seen_in - before.seen_in, self.seen_out - before.seen_out),
        )


@dataclass
class MeteredRelay:
    """A relay and its record: `samples` a few milliseconds apart."""

    reactor: Reactor
    endpoint: Endpoint
    service: Relay
    budget: Budget
    address: str
    programs: Programs
    wire: Wire | None
    interface: Any
    samples: list[Sample] = field(default_factory=list)

    @property
    def circuits(self) -> list[Circuit]:
        return list(self.service.circuits.values())

    def now(self) -> Sample:
        seen_in = seen_out = 0
        if self.interface:
            self.interface.seek(0)
            for row in self.interface.read().splitlines():
                name, _, numbers = row.partition(":")
                if self.wire and name.strip() == self.wire.cable:
                    columns = numbers.split()
                    seen_in, seen_out = int(columns[0]), int(columns[8])
        return Sample(time.monotonic(), self.budget.received, self.budget.sent, seen_in, seen_out)

    async def record(self) -> None:
        while True:
            self.samples.append(self.now())
            await asyncio.sleep(_SAMPLE)

    async def circuits_are(self, count: int) -> None:
        """Returns when so many circuits are open."""
        await eventually(lambda: len(self.service.circuits) == count, f"{count} circuits", 20)

    @asynccontextmanager
    async def load(self, seconds: float, *options: Any, may_fail: bool = False) -> AsyncIterator[asyncio.Task[Any]]:
        """Greedy circuits, until `seconds` have passed or the block is left; the task gives what was measured."""
        process = await asyncio.create_subprocess_exec(
            *(self.wire.clients.here if self.wire else []),
            *map(str, [self.programs.load, "bulk", "--relay", self.address, "--pid", os.getpid(), "--warmup", 0.1]),
            *map(str, ["--seconds", seconds, *options]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

        async def result() -> Any:
            out, complaints = await process.communicate()
            if process.returncode and not may_fail:
                raise AssertionError(complaints.decode())
            return json.loads(out) if out else None

        task = asyncio.create_task(result())
        try:
            yield task
        finally:
            if process.returncode is None:
                process.kill()
            await asyncio.gather(task, return_exceptions=True)

    def fastest(self, start: float, end: float, span: float = 1.0) -> tuple[float, float]:
        """The most bytes per second in any stretch of `span` seconds between two moments: at the sockets, at the
        interface."""
        chosen = [s for s in self.samples if start <= s.at <= end]
        most = [0.0, 0.0]
        first = 0
        for last in chosen:
            while last.at - chosen[first + 1].at >= span if first + 1 < len(chosen) else False:
                first += 1
            passed = last.at - chosen[first].at
            if passed >= span:
                for i, moved in enumerate(last.since(chosen[first])):
                    most[i] = max(most[i], moved / passed)
        return most[0], most[1]

    def awake(self, start: float, end: float) -> float:
        """The part of the time in which this process ran when it should have, squared: the load had to run, too, and
        tokens of longer pauses are lost. Whoever shares the machine is to blame."""
        times = [s.at for s in self.samples if start <= s.at <= end]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        part: float = sum(min(gap, _SAMPLE + 0.005) for gap in gaps) / sum(gaps)
        return part * part

    def mean(self, start: float, end: float) -> tuple[float, float]:
        """Bytes per second between two moments: at the sockets, at the interface."""
        chosen = [s for s in self.samples if start <= s.at <= end]
        passed = chosen[-1].at - chosen[0].at
        moved = chosen[-1].since(chosen[0])
        return moved[0] / passed, moved[1] / passed


@asynccontextmanager
async def metered_relay(place: Wire | None = None) -> AsyncIterator[MeteredRelay]:
    """A relay on loopback, or at its end of a wire."""
    programs = await asyncio.to_thread(build)
    loop = asyncio.get_running_loop()
    reactor = Reactor(loop)
    endpoint = Endpoint(reactor, os.urandom(32))
    budget = Budget(reactor)
    endpoint.set_budget(budget)
    service = endpoint.start_relaying(Everybody())
    host = "127.0.0.1" if place is None else place.relay.address
    interface = None
    with place.relay.inside() if place else contextlib.nullcontext():
        port = endpoint.listen(host, 0)
        if place:
            interface = Path("/proc/thread-self/net/dev").open()  # noqa: ASYNC230, SIM115
    relay = MeteredRelay(reactor, endpoint, service, budget, f"{host}:{port}", programs, place, interface)
    recording = asyncio.create_task(relay.record())
    # Tokens of milliseconds in which this process does not run are lost.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    try:
        yield relay
    finally:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
        endpoint.close()
        endpoint.abort()
        reactor.close()
        if interface:
            interface.close()


def spread(numbers: list[int]) -> float:
    """How far the largest is above the smallest, as a part of the mean."""
    return (max(numbers) - min(numbers)) / (sum(numbers) / len(numbers))
