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


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A dedicated relay on 127.0.0.1 and ::1 without limits. It must survive the module's tests and end well."""
    process = RelayProcess(
        tmp_path_factory.mktemp("relay"), ROOMY, listen=("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0")
    )
    try:
        yield process
        process.stop()
    finally:
        process.kill()


@pytest.fixture
def start_relay(tmp_path: Path) -> Iterator[StartRelay]:
    """Starts relays with settings of the test's own: `start_relay({"relay.circuit_data": "4096B"})`."""
    started: list[RelayProcess] = []

    def start(settings: dict[str, str] | None = None, *, listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)) -> RelayProcess:
        process = RelayProcess(tmp_path / f"relay{len(started)}", ROOMY | (settings or {}), listen=listen)
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
    """A pair with a circuit that was there before a test's offence: behind it the circuit must work as if nothing had been,
    new ones too, and the relay must have closed every descriptor that the offence took."""
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
