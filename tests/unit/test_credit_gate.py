"""Credits at a relay: who is accepted when it is crowded, with which limit, and what everybody is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.nodes import ECHO, Meeting, address, client, meeting, relay, until
from towpath import Node, Stream
from towpath.addresses import to_bytes
from towpath.credits.free_tier import Tier
from towpath.credits.gate import Gate
from towpath.credits.policy import QUIET, Load
from towpath.credits.receipts import Receipt, Signed, countersign, day_of, read_dual, sign
from towpath.credits.statement import account_text
from towpath.errors import RelayError, TowpathError
from towpath.identity import Identity

MIB = 1 << 20
HERE = b"\x7f\x00\x00"


def owe(node: Node, account: bytes, n: int) -> None:
    """Has this node owe an account so much: its relay carried that for us, and we signed for it."""
    other = Identity.generate()
    now = time.time()
    receipt = Receipt(1, other.peer_id, node.credits.account.public_key, day_of(now), 1, n, 0, 0)
    raw = sign(receipt, node.credits.account.seed)
    node.credits.ledger.owed(read_dual(countersign(raw, other.seed, account)), now)


async def carry(at: Meeting, n: int) -> None:
    """Alice sends so much to bob, who says it again."""
    stream = await at.alice.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
    async with stream:
        for _ in range(n // 65536):
            stream.write(bytes(65536))
            await stream.readexactly(65536)


def only(node: Node) -> int | None:
    """The limit of the one circuit that is open."""
    assert node._relay.relay is not None
    (circuit,) = node._relay.relay.circuits.values()
    return circuit.limit_data or None


async def test_whatever_goes_wrong_with_one_circuit_the_load_is_looked_at_again() -> None:
    looks, wrong = Counter[str](), asyncio.Event()

    def load() -> Load:
        looks["load"] += 1
        return QUIET

    def weigh(*_: float) -> None:
        looks["circuit"] += 1
        if looks["circuit"] == 2:
            wrong.set()
            raise ValueError("no weight")

    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    circuit: Any = SimpleNamespace(id=1, dialer_id=b"a", target_id=b"b", bytes_in=0, bytes_out=0, weigh=weigh)
    relay: Any = SimpleNamespace(circuits={1: circuit}, connecting=0)
    gate = Gate(Any, SimpleNamespace(relay=relay, peers={}), lambda: ("always", Tier()))  # type: ignore[arg-type]
    gate.look_at_load = load
    gate.follow(relay)
    try:
        await asyncio.wait_for(wrong.wait(), 30)
        before = looks.copy()
        await until(lambda: looks["load"] > before["load"] + 1 and looks["circuit"] > before["circuit"], 30)
    finally:
        gate.follow(None)


async def test_a_reservation_is_asked_after_in_the_whole_network_of_who_wants_it() -> None:
    held = {HERE: 0}
    relay: Any = SimpleNamespace(reserved_in=held.__getitem__)
    remote = to_bytes("/ip4/127.0.0.1/tcp/1")
    peers = {b"a": SimpleNamespace(sessions=[SimpleNamespace(via=b"", remote=remote)])}
    gate = Gate(Any, SimpleNamespace(relay=relay, peers=peers), lambda: ("under_load", Tier()))  # type: ignore[arg-type]
    assert gate.reserve(b"a", 80, 100, 0)
    held[HERE] = 80
    assert not gate.reserve(b"a", 80, 100, 0)
    assert gate.reserve(b"a", 79, 100, 0)


async def test_a_quiet_relay_asks_for_nothing_and_tells_no_limit() -> None:
    async with meeting(credits__free_tier="1MiB", credits__free_tier_refill="0B/h") as at:
        await carry(at, 3 * MIB)
        await at.alice.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        assert only(at.relay) is None


async def test_what_the_free_tier_does_not_cover_is_refused_with_words_and_numbers() -> None:
    terms = {"credits__enforce": "always", "credits__free_tier": "4MiB", "credits__free_tier_refill": "4MiB/h"}
    async with meeting(**terms) as at, client() as late:
        for node in (at.alice, at.bob, late):
            await node.change_settings({"relay.priority_access": False}, persist=False)
        await carry(at, 2 * MIB)
        # Both ends sent 2 MiB from one network.
        await until(lambda: at.relay.credits.ledger.free_left(HERE, time.time()) < MIB, 30)
        with pytest.raises(RelayError, match=r"its free tier for your network is used up, and refills to 4.* min"):
            await late.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        told = "\n".join(late.credits.of_peer(at.relay.relay_id)["sentences"])
        assert "refused a circuit: its free tier for your network is used up" in told
        assert "refused a circuit" in "\n".join(late.credits.rows()["sentences"])
        row = at.relay.credits.of_peer("127.0.0.1")
        assert row["kind"] == "network"
        assert not row["accepted"]
        assert row["carried"] >= 4 * MIB
        assert "Refused: the owner asks for it always" in row["sentences"][0]
        assert at.relay.status()["credits"]["refused"] == 1


@pytest.mark.slow
async def test_a_told_limit_is_promised_and_the_rest_is_for_the_next() -> None:
    terms = {"credits__enforce": "always", "credits__free_tier": "64MiB", "credits__free_tier_refill": "0B/h"}
    async with meeting(**terms) as at, client() as other, client() as third:
        await at.alice.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        assert only(at.relay) == 16 * MIB
        # Each end is promised that much, and both are of one network.
        gate = at.relay.credits.gate
        assert 31 * MIB < gate._escrow.free(HERE) <= 32 * MIB
        await other.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        assert gate._escrow.free(HERE) > 62 * MIB
        with pytest.raises(RelayError, match="free tier"):
            await third.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        await at.alice.close()
        await until(lambda: gate._escrow.free(HERE) <= 32 * MIB, 30)
        await third.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))


@pytest.mark.slow
async def test_who_relayed_for_us_comes_first_and_says_so() -> None:
    terms = {"credits__enforce": "always", "credits__free_tier": "8MiB", "credits__free_tier_refill": "0B/h"}
    async with meeting(**terms) as at, client(relay__priority_access=False) as stranger, client() as newcomer:
        credits = at.relay.credits
        for node in (at.alice, at.bob):
            owe(at.relay, node.credits.account.public_key, 100 * MIB)
        await until(lambda: credits.credit.credit_of(at.bob.credits.account.public_key) > 0, 30)
        await until(lambda: at.bob.status()["credits"]["priority"]["priority_at"] == 1, 30)
        stream = await stranger.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        async with stream:
            for _ in range(120):
                stream.write(bytes(65536))
                await stream.readexactly(65536)
        await until(lambda: credits.ledger.free_left(HERE, time.time()) < MIB, 30)
        with pytest.raises(RelayError, match="free tier"):
            await newcomer.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        # Alice, who shows her account first, is not.
        await carry(at, 2 * MIB)
        alice = account_text(at.alice.credits.account.public_key)
        await until(lambda: credits.of_peer(alice)["on_credit"] > MIB, 30)
        told = " ".join(credits.of_peer(alice)["sentences"])
        assert "Accepted on its credit, and served first" in told
        assert "MB for what it relayed for us" in told
        assert "MB of its circuits were paid so until now" in told


async def test_a_crowded_relay_keeps_places_for_who_has_credit() -> None:
    async with meeting(relay__max_circuits=10) as at, contextlib.AsyncExitStack() as others:
        owe(at.relay, at.alice.credits.account.public_key, 100 * MIB)
        owe(at.relay, at.bob.credits.account.public_key, 100 * MIB)
        for _ in range(7):
            one = await others.enter_async_context(client(relay__priority_access=False))
            await one.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        # From seven of ten on credits are asked for, and a network that holds seven leaves the rest to others.
        gate = at.relay.credits.gate
        await until(lambda: gate.load.high and gate._free == 7, 30)
        late = await others.enter_async_context(client(relay__priority_access=False))
        with pytest.raises(RelayError, match=r"crowded, and your network has its share of the circuits \(7 of 10\)"):
            await late.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        await at.alice.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        assert gate._paying == 1
        assert any("its network has 7 circuits" in line for line in at.relay.credits.of_peer("127.0.0.1")["sentences"])


@pytest.mark.slow
async def test_a_circuit_from_quiet_times_ends_when_its_sender_has_nothing_left_and_it_is_crowded() -> None:
    terms = {"credits__enforce": "never", "credits__free_tier": "4MiB", "credits__free_tier_refill": "0B/h"}
    async with meeting(**terms) as at, client(relay__priority_access=False) as stranger:
        credits = at.relay.credits
        accounts = [node.credits.account.public_key for node in (at.alice, at.bob)]
        for account in accounts:
            owe(at.relay, account, 1000 * MIB)
        via = address(at.relay)
        paid = await at.alice.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=via)
        free = await stranger.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=via)
        await until(lambda: min(map(credits.credit.credit_of, accounts)) > 900 * MIB, 30)
        async with paid, free:
            await there_and_back(free, 6 * MIB)
            await until(lambda: credits.ledger.free_left(HERE, time.time()) < MIB, 30)
            await at.relay.change_settings({"credits.enforce": "always"}, persist=False)
            await until(lambda: len(credits.gate._open) == circuits(at.relay) > 0, 30)
            with pytest.raises(TowpathError):
                await there_and_back(free, 4096 * MIB)
            why = "refused a circuit: its free tier for your network is used up"
            await until(lambda: why in "\n".join(stranger.credits.of_peer(at.relay.relay_id)["sentences"]), 30)
            assert credits.gate.refusals == 1
            # Who has credit goes on, at both ends.
            await there_and_back(paid, 8 * MIB)


async def test_of_a_quota_that_runs_low_one_network_is_promised_its_share() -> None:
    async with meeting(relay__max_bandwidth_per_month="10GiB") as at, contextlib.AsyncExitStack() as others:
        gate = at.relay.credits.gate
        left = gate.look_at_quota()
        assert left is not None
        assert 9 * 1024 * MIB < left[0] <= 10 * 1024 * MIB
        gate.look_at_load = lambda: Load(quota=0.75)
        gate.look_at_quota = lambda: (64 * MIB, time.time() + 3600)
        await at.bob.change_settings({"relay.priority_access": False}, persist=False)
        await until(lambda: gate._quota is not None, 30)

        async def comes() -> int:
            one = await others.enter_async_context(client(relay__priority_access=False))
            await one.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
            assert at.relay._relay.relay is not None
            return max(at.relay._relay.relay.circuits.items())[1].limit_data

        # Both ends together get a quarter of what is vacant; then a fifth stays vacant, and as much as they have.
        assert await comes() == 8 * MIB
        assert MIB < await comes() <= 6 * MIB
        with pytest.raises(RelayError, match="share of what is left of its quota is promised"):
            for _ in range(5):
                await comes()
        assert gate._escrow.not_paying <= 32 * MIB
        assert "its share of them is promised" in at.relay.credits.of_peer("127.0.0.1")["sentences"][0]


def circuits(node: Node) -> int:
    return 0 if node._relay.relay is None else len(node._relay.relay.circuits)


async def there_and_back(stream: Stream, n: int) -> None:
    for _ in range(n // 65536):
        stream.write(bytes(65536))
        await stream.readexactly(65536)


@pytest.mark.slow
async def test_who_pays_gets_more_of_a_full_pipe() -> None:
    async with meeting(relay__max_rate="2MB/s") as at, client(relay__priority_access=False) as stranger:
        owe(at.relay, at.alice.credits.account.public_key, 1000 * MIB)
        sent: list[Stream] = []
        at.let_in("/sink/1")
        tasks = []
        for node in (at.alice, stranger):
            stream = await node.connect_to_peer_via_relay(at.bob.peer_id, "/sink/1", via=address(at.relay))
            sent.append(stream)
            tasks.append(asyncio.create_task(pour(stream)))
            tasks.append(asyncio.create_task(swallow(await at.accepted.get())))
        try:
            assert at.relay._relay.relay is not None
            circuits = at.relay._relay.relay.circuits
            # One on the free tier beside one who pays: a fifth, which is a quarter of the other's.
            await until(lambda: sorted(circuit.weight for circuit in circuits.values()) == [2, 8], 60)
            light, heavy = sorted(circuits.values(), key=lambda circuit: circuit.weight)
            before = light.bytes_in, heavy.bytes_in
            await until(lambda: heavy.bytes_in - before[1] > 4 * MIB, 60)
            assert 0 < light.bytes_in - before[0] < 2 * MIB
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def pour(stream: Stream) -> None:
    while True:
        stream.write(bytes(65536))
        await stream.drain()


async def swallow(stream: Stream) -> None:
    while await stream.read():
        pass


async def test_the_ledger_outlives_the_process(tmp_path: Path) -> None:
    async with relay(credits__enforce="always") as middle:
        account = Identity.generate()
        receipt = Receipt(1, middle._relay.peer_id, account.public_key, day_of(time.time()), 1, 5 * MIB, 0, 0)
        signed = Signed(receipt, sign(receipt, account.seed))
        assert await middle.credits.ledger.paid(account.public_key, signed, 5 * MIB, time.time())
        assert middle.status()["credits"]["earned"] == 5.0


async def test_of_many_clients_a_few_are_told_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bytes] = []
    async with relay() as middle:
        many = {bytes((n,)) * 38: bytes((n,)) * 32 for n in range(100)}
        credits = middle.credits
        monkeypatch.setattr(credits.billing, "shown_accounts", lambda: many)
        monkeypatch.setattr(credits.billing, "shown_by", many.get)
        monkeypatch.setattr(credits, "_tell_one", lambda peer_id, account: told.append(peer_id))
        assert credits._telling is not None
        credits._telling.cancel()
        credits._tell()
        assert len(told) == 32
        await until(lambda: len(told) == 100, 30)
        assert set(told) == set(many)
        # Until the next minute.
        assert not credits._to_tell


async def test_a_name_that_means_nothing_is_answered_with_a_sentence() -> None:
    async with client() as node:
        with pytest.raises(TowpathError, match="no peer id, account or network"):
            node.credits.of_peer("somebody")
