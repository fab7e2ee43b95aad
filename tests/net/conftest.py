"""Relays for the tests: one that a module shares, and ones with settings of their own."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peerlab import Link, Peer, RelayProcess, circuit_between

ROOMY = {
    "relay.max_circuits": "unlimited",
    "relay.max_circuits_per_peer": "unlimited",
    "relay.max_reservations": "unlimited",
    "relay.max_reservations_per_ip": "unlimited",
}
"""All of loopback is one neighbourhood; limits are for the tests that are about them."""

StartRelay = Callable[..., RelayProcess]


@dataclass
class Shared:
    """The relay that a module's tests share, replaced when one of them has brought it down."""

    directory: Path
    process: RelayProcess | None = None
    starts: int = 0

    def running(self) -> RelayProcess:
        if self.process is None:
            self.starts += 1
            directory = self.directory / f"start{self.starts}"
            self.process = RelayProcess(directory, ROOMY, listen=("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"))
        return self.process

    def bury_if_dead(self) -> None:
        """Fails, with its last words, when the relay is no longer there."""
        if self.process and not self.process.alive:
            complaints, self.process = self.process.complaints, None
            pytest.fail(f"the relay died of this test: {complaints[-3000:]}", pytrace=False)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    holder = Shared(tmp_path_factory.mktemp("relay"))
    try:
        yield holder
        if holder.process:
            holder.process.stop()
    finally:
        if holder.process:
            holder.process.kill()


@pytest.fixture
def relay(shared: Shared) -> Iterator[RelayProcess]:
    """A dedicated relay on 127.0.0.1 and ::1 without limits, which must survive the test and, in the end, end well."""
    yield shared.running()
    shared.bury_if_dead()


@pytest.fixture
def start_relay(tmp_path: Path) -> Iterator[StartRelay]:
    """Starts relays with settings of the test's own: `start_relay({"relay.circuit_data": "4096B"})`."""
    started: list[RelayProcess] = []

    def start(settings: dict[str, str] | None = None, **options: tuple[str, ...]) -> RelayProcess:
        process = RelayProcess(tmp_path / f"relay{len(started)}", ROOMY | (settings or {}), **options)
        started.append(process)
        return process

    try:
        yield start
        for process in started:
            process.stop()
    finally:
        for process in started:
            process.kill()


@dataclass
class Meeting:
    """Two peers at one relay: bob holds a reservation there, alice wants to reach him."""

    relay: RelayProcess
    alice: Peer
    bob: Peer
    to_relay: Link
    """alice's connection"""
    at_relay: Link
    """bob's connection"""


@asynccontextmanager
async def meeting_at(relay: RelayProcess, alice: Peer | None = None, bob: Peer | None = None) -> AsyncIterator[Meeting]:
    """Brings two peers to a relay."""
    async with alice or Peer() as alice, bob or Peer() as bob:
        at_relay = await bob.dial(relay)
        await at_relay.reserve()
        yield Meeting(relay, alice, bob, await alice.dial(relay), at_relay)


@pytest.fixture
async def meeting(relay: RelayProcess) -> AsyncIterator[Meeting]:
    async with meeting_at(relay) as met:
        yield met


@pytest.fixture
async def bystanders(relay: RelayProcess) -> AsyncIterator[Meeting]:
    """A pair with a circuit that was there before a test's offence. Behind it the circuit must work as if nothing had
    been, new ones too, and the relay must have closed every descriptor that the offence took."""
    async with meeting_at(relay) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        before = relay.descriptors()
        yield met
        await relay.has_descriptors(before)
        await here.write(b"as if nothing had been")
        assert await there.read(22) == b"as if nothing had been"
        fresh, accepted = await circuit_between(met.to_relay, met.at_relay)
        await fresh.write(b"and again")
        assert await accepted.read(9) == b"and again"
