"""A relay's limits, counted at its sockets: the rate in every second, the end of an allowance, fair shares."""

import asyncio
import time

import pytest

from tests.net.metered import MeteredRelay, metered_relay, spread, wire
from tests.peerlab import Peer, Refused, Status, StreamReset, circuit_between, meanwhile
from tests.peerlab.multiaddr import socket_address

MB = 1_000_000
RATE = 2 * MB
PATIENT = pytest.mark.timeout(240)

lasting = pytest.mark.parametrize(
    "seconds", [pytest.param(6.0, id="short"), pytest.param(60.0, id="full", marks=[pytest.mark.full, PATIENT])]
)
placed = pytest.mark.parametrize(
    "pairs", [pytest.param(1, id="one-connection"), pytest.param(8, id="eight-connections")]
)


class Dialable:
    """The relay as a peer dials it."""

    def __init__(self, relay: MeteredRelay) -> None:
        host, _, port = relay.address.partition(":")
        self.address = socket_address(f"/ip4/{host}/tcp/{port}")[0]
        self.peer_id = relay.endpoint.peer_id


def keeps_to(relay: MeteredRelay, rate: float, start: float, end: float, least: float = 0.97) -> None:
    at_sockets, at_interface = relay.fastest(start, end)
    assert at_sockets <= 1.01 * rate
    assert at_interface <= 1.08 * rate
    assert relay.mean(start, end)[0] >= least * rate * relay.awake(start, end)


@lasting
@placed
async def test_no_second_brings_more_than_the_rate_nor_much_less(seconds: float, pairs: int) -> None:
    with wire() as place:
        async with metered_relay(place) as relay:
            relay.budget.set_rate(RATE)
            async with relay.load(seconds + 1, "--circuits", 8, "--pairs", pairs):
                await relay.circuits_are(8)
                began = time.monotonic()
                await asyncio.sleep(seconds)
                keeps_to(relay, RATE, began + 1, time.monotonic())


@lasting
async def test_load_that_comes_and_goes_gains_nothing(seconds: float) -> None:
    with wire() as place:
        async with metered_relay(place) as relay:
            relay.budget.set_rate(RATE)
            began = time.monotonic()
            while time.monotonic() < began + seconds:
                async with relay.load(60, "--circuits", 8, "--pairs", 4):
                    await relay.circuits_are(8)
                    await asyncio.sleep(1.7)
                await relay.circuits_are(0)
                await asyncio.sleep(0.6)
            at_sockets, _ = relay.fastest(began, time.monotonic())
            assert at_sockets <= 1.01 * RATE


@lasting
async def test_a_lowered_limit_holds_while_circuits_run(seconds: float) -> None:
    with wire() as place:
        async with metered_relay(place) as relay:
            relay.budget.set_rate(2 * RATE)
            async with relay.load(seconds + 2, "--circuits", 8, "--pairs", 2):
                await relay.circuits_are(8)
                await asyncio.sleep(seconds / 3)
                relay.budget.set_rate(RATE)
                lowered = time.monotonic()
                await asyncio.sleep(2 * seconds / 3)
                keeps_to(relay, RATE, lowered + 1, time.monotonic())
                assert relay.fastest(lowered, time.monotonic())[0] <= 1.01 * RATE


async def test_an_unlimited_relay_that_gets_a_limit_keeps_it_at_once() -> None:
    async with metered_relay() as relay, relay.load(20, "--circuits", 4, "--pairs", 2):
        await relay.circuits_are(4)
        await asyncio.sleep(0.5)
        relay.budget.set_rate(RATE)
        limited = time.monotonic()
        await asyncio.sleep(2.5)
        assert relay.fastest(limited, time.monotonic())[0] <= 1.01 * RATE
        awake = relay.awake(limited, time.monotonic())
        assert relay.mean(limited + 0.2, time.monotonic())[0] >= 0.97 * RATE * awake
        before = relay.now()
        relay.budget.set_rate(None)
        await asyncio.sleep(0.5)
        assert relay.now().since(before)[0] > 10 * RATE


async def moved(relay: MeteredRelay, settle: float, seconds: float) -> list[int]:
    """Bytes of each circuit in a stretch of time, oldest circuit first."""
    await asyncio.sleep(settle)
    before = {circuit.id: circuit.bytes_in for circuit in relay.circuits}
    await asyncio.sleep(seconds)
    return [circuit.bytes_in - before[circuit.id] for circuit in relay.circuits]


@lasting
@placed
async def test_equal_circuits_get_equal_shares(seconds: float, pairs: int) -> None:
    async with metered_relay() as relay:
        relay.budget.set_rate(RATE)
        async with relay.load(seconds + 4, "--circuits", 8, "--pairs", pairs):
            await relay.circuits_are(8)
            assert spread(await moved(relay, 2, seconds)) < 0.05


@lasting
@placed
async def test_a_weight_of_three_gets_three_shares(seconds: float, pairs: int) -> None:
    async with metered_relay() as relay:
        relay.budget.set_rate(RATE)
        async with relay.load(seconds + 5, "--circuits", 4, "--pairs", min(pairs, 4)):
            await relay.circuits_are(4)
            relay.circuits[1].weight = 3.0
            shares = await moved(relay, 3, seconds)
            others = shares[:1] + shares[2:]
            assert abs(shares[1] / (sum(others) / len(others)) - 3) <= 0.2


async def test_a_circuit_that_says_little_is_not_kept_waiting_by_greedy_ones() -> None:
    async with metered_relay() as relay, Peer() as alice, Peer() as bob:
        relay.budget.set_rate(RATE)
        async with relay.load(20, "--circuits", 8, "--pairs", 8):
            await relay.circuits_are(8)
            began = time.monotonic()
            at_relay = await bob.dial(Dialable(relay))
            await at_relay.reserve()
            to_relay = await alice.dial(Dialable(relay))
            asking = asyncio.create_task(to_relay.connect(bob.peer_id))
            there = await at_relay.accept()
            here = await asking
            assert time.monotonic() - began < 3
            slowest = 0.0
            for _ in range(20):
                said = time.monotonic()
                await here.write(b"x" * 100)
                await there.read(100)
                slowest = max(slowest, time.monotonic() - said)
            assert slowest < 0.5


@pytest.mark.parametrize("both", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("rate", [None, 10 * MB], ids=["unlimited", "10MB/s"])
async def test_a_quota_is_reached_and_not_passed(rate: float | None, both: bool) -> None:
    quota = 50 * MB
    with wire() as place:
        async with metered_relay(place) as relay:
            ended = asyncio.Event()
            relay.budget.on_exhausted = ended.set
            relay.budget.set_rate(rate)
            before = relay.now()
            relay.budget.set_allowance(quota, quota)
            options = ["--circuits", 8, "--pairs", 2, *(["--both"] if both else [])]
            async with relay.load(60, *options, may_fail=True) as load, asyncio.timeout(30):
                await ended.wait()
                assert relay.budget.exhausted
                await relay.circuits_are(0)
                await load
            await asyncio.sleep(0.3)
            used, seen = relay.now().since(before)
            assert 49.5 * MB <= used <= quota
            assert seen <= 1.08 * quota


async def test_at_its_end_circuits_are_refused_until_a_new_allowance_is_set() -> None:
    async with metered_relay() as relay, Peer() as alice, Peer() as bob:
        at_relay = await bob.dial(Dialable(relay))
        await at_relay.reserve()
        to_relay = await alice.dial(Dialable(relay))
        ended = asyncio.Event()
        relay.budget.on_exhausted = ended.set
        here, there = await circuit_between(to_relay, at_relay)
        relay.budget.set_allowance(2 * MB, None)
        async with meanwhile(there.read_rest()), asyncio.timeout(20):
            with pytest.raises(StreamReset):
                await here.write(bytes(3 * MB))
            await ended.wait()
        assert 1.8 * MB < relay.budget.received < 2 * MB
        with pytest.raises(Refused) as refused:
            await to_relay.connect(bob.peer_id)
        assert refused.value.status == Status.RESOURCE_LIMIT_EXCEEDED
        relay.budget.set_allowance(None, None)
        await circuit_between(to_relay, at_relay)


async def test_a_relay_that_does_not_admit_refuses_reservations_and_circuits() -> None:
    async with metered_relay() as relay, Peer() as alice, Peer() as bob:
        at_relay = await bob.dial(Dialable(relay))
        await at_relay.reserve()
        to_relay = await alice.dial(Dialable(relay))
        relay.service.admitting = False
        with pytest.raises(Refused) as refused:
            await to_relay.reserve()
        assert refused.value.status == Status.RESERVATION_REFUSED
        with pytest.raises(Refused) as refused:
            await to_relay.connect(bob.peer_id)
        assert refused.value.status == Status.RESOURCE_LIMIT_EXCEEDED
        relay.service.admitting = True
        await to_relay.reserve()


async def test_one_socket_can_be_slowed_alone() -> None:
    async with metered_relay() as relay:
        async with relay.load(20, "--circuits", 2, "--pairs", 2):
            await relay.circuits_are(2)
            slow, quick = relay.circuits
            (session,) = relay.endpoint.peers[slow.target_id].sessions
            relay.budget.slow(session, 100_000)
            both = await moved(relay, 1, 3)
            assert both[0] <= 1.02 * 300_000 + 300_000
            assert both[1] > 100 * both[0]
            relay.budget.slow(session, None)
            freed = await moved(relay, 0.5, 1)
            assert freed[0] > 20 * both[0]
        assert quick.bytes_in > slow.bytes_in


async def test_every_byte_of_every_socket_is_counted() -> None:
    async with metered_relay() as relay, relay.load(1, "--circuits", 2, "--both") as load:
        measured = await load
        stats = relay.reactor.stats()
        assert (relay.budget.received, relay.budget.sent) == (stats["bytes_read"], stats["bytes_sent"])
        assert relay.budget.received > measured["bytes"]
        assert relay.budget.rate_now()[0] > 0
