"""Relays read out of the DHT's shards, and what a relay answers of what it read."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from tests.unit.memory_dht import NOW, Clock, MemoryDht
from tests.unit.nodes import until
from tests.unit.said import advertisement, peer_record
from towpath.discovery import answers as module
from towpath.discovery import reading
from towpath.discovery.answers import FEW_AGAIN_S, FRESH_S, READ_AGAIN_S, InDht, KeptAnswers
from towpath.discovery.peer_records import HeldRecords
from towpath.discovery.reading import read_shards
from towpath.discovery.records import advertisement_key, peer_key, read_advertisement
from towpath.discovery.shards import KEYS, SHARDS, shard_key, shard_of
from towpath.errors import TowpathError
from towpath.identity import Identity

RELAYS = [Identity(bytes((n,)) * 32) for n in range(1, 41)]


def network(relays: list[Identity], *, withdrawn: int = 0) -> MemoryDht:
    """A DHT with these relays in it; the first `withdrawn` of them are gone."""
    dht = MemoryDht()
    for at, one in enumerate(relays):
        dht.values[advertisement_key(one.peer_id)] = advertisement(one, withdrawn=at < withdrawn)
        dht.provided.setdefault(shard_key(shard_of(one.peer_id)), []).append(one.peer_id)
    return dht


async def read(dht: MemoryDht, enough: int, seed: int = 1) -> list[bytes]:
    return [said.peer_id async for _, said in read_shards(dht, enough, rng=random.Random(seed), clock=dht.clock)]


async def test_every_relay_is_found_once_when_all_are_wanted() -> None:
    dht = network(RELAYS)
    found = await read(dht, 1000)
    assert sorted(found) == sorted(one.peer_id for one in RELAYS)
    assert set(dht.read) == KEYS
    assert len(dht.read) == SHARDS


async def test_no_more_shards_are_read_than_are_needed_and_others_each_time() -> None:
    dht = network(RELAYS)
    first = await read(dht, 3, seed=1)
    assert 3 <= len(first) <= 3 + reading.RECORDS_AT_ONCE
    assert len(dht.read) < SHARDS / 2
    assert first != await read(dht, 3, seed=2)


async def test_relays_that_withdrew_are_told_of_and_not_counted() -> None:
    dht = network(RELAYS[:8], withdrawn=4)
    assert len(await read(dht, 4)) >= 4
    found = [said async for _, said in read_shards(dht, 100, clock=dht.clock)]
    assert sum(said.withdrawn for said in found) == 4


async def test_a_provider_without_a_valid_advertisement_is_none() -> None:
    dht = network(RELAYS[:3])
    for one in RELAYS[10:30]:
        dht.provided.setdefault(shard_key(shard_of(one.peer_id)), []).append(one.peer_id)
    for shard in KEYS:
        dht.provided.setdefault(shard, []).insert(0, b"nobody's id")
    thief, expired = RELAYS[10], RELAYS[11]
    dht.values[advertisement_key(thief.peer_id)] = advertisement(RELAYS[0])
    dht.values[advertisement_key(expired.peer_id)] = advertisement(expired, age=7201)
    assert sorted(await read(dht, 100)) == sorted(one.peer_id for one in RELAYS[:3])


async def test_only_so_much_is_asked_at_once() -> None:
    dht = network(RELAYS)
    await read(dht, 1000)
    assert dht.most_at_once <= reading.SHARDS_AT_ONCE + reading.RECORDS_AT_ONCE


async def test_who_leaves_early_leaves_nothing_behind() -> None:
    dht = network(RELAYS)
    before = asyncio.all_tasks()
    found = read_shards(dht, 1000, clock=dht.clock)
    async with contextlib.aclosing(found):
        async for _ in found:
            break
    assert asyncio.all_tasks() == before
    assert dht.at_once == 0


async def test_a_dht_that_cannot_be_reached_at_all_is_an_error() -> None:
    dht = network(RELAYS)
    dht.down = True
    with pytest.raises(TowpathError, match="cannot be reached"):
        await read(dht, 1)


# --- what a relay answers -----------------------------------------------------------------------------------------

OWN = Identity(bytes((99,)) * 32)


def answers(dht: MemoryDht | None, clock: Clock | None = None, *, own: bool = True) -> KeptAnswers:
    clock = clock or (Clock() if dht is None else dht.clock)
    held = HeldRecords(OWN.peer_id, lambda peer_id: True, None, clock=clock)
    raw = advertisement(OWN) if own else None
    sought = None if dht is None else InDht(dht, clock=clock, rng=random.Random(1))
    return KeptAnswers(sought, held, lambda: raw, clock=clock, rng=random.Random(1))


async def test_a_relay_answers_relays_that_it_read_and_others_each_time() -> None:
    dht = network(RELAYS)
    made = answers(dht)
    first = await made.relays(12)
    assert len(set(first)) == 12
    await until(lambda: made._reading is None)
    reads = len(dht.read)
    later = {raw for _ in range(20) for raw in await made.relays(12)}
    assert len(dht.read) == reads
    assert len(later) > 30
    await made.close()


async def test_relays_are_read_again_after_a_while_without_keeping_anybody_waiting() -> None:
    dht = network(RELAYS)
    made = answers(dht)
    await made.relays(12)
    reads = len(dht.read)
    dht.clock.now += READ_AGAIN_S
    dht.open.clear()
    assert len(await made.relays(12)) == 12
    dht.open.set()
    await until(lambda: len(dht.read) > reads)
    await made.close()


async def test_some_relays_are_an_answer_before_all_shards_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MORE_S", 0.02)
    dht = network(RELAYS[:8])
    made = answers(dht, own=False)
    for one in RELAYS[:4]:
        raw = advertisement(one)
        made.heard_of(raw, read_advertisement(raw, NOW))
    dht.open.clear()
    async with asyncio.timeout(5):
        assert len(await made.relays(12)) == 4
    await made.close()


async def test_what_was_read_beforehand_is_answered_at_once() -> None:
    dht = network(RELAYS)
    made = answers(dht)
    made.prepare()
    await until(lambda: len(made._relays) >= 12)
    dht.open.clear()
    assert len(await made.relays(12)) == 12
    await made.close()


async def test_where_there_are_few_relays_not_every_question_reads_the_dht() -> None:
    dht = network(RELAYS[:3])
    made = answers(dht, own=False)
    assert len(await made.relays(12)) == 3
    assert len(await made.relays(12)) == 3
    assert len(dht.read) == SHARDS
    late = network(RELAYS[:4])
    dht.values, dht.provided = late.values, late.provided
    dht.clock.now += FEW_AGAIN_S
    assert len(await made.relays(12)) == 4
    await made.close()


async def test_relays_that_withdrew_are_not_answered() -> None:
    dht = network(RELAYS[:6], withdrawn=3)
    made = answers(dht, own=False)
    assert sorted(await made.relays(12)) == sorted(advertisement(one) for one in RELAYS[3:6])
    await made.close()


async def test_a_relay_alone_answers_itself() -> None:
    assert await answers(None).relays(5) == [advertisement(OWN)]
    with pytest.raises(TowpathError, match="no DHT"):
        await answers(None, own=False).relays(5)


async def test_a_peer_is_looked_up_once_for_all_who_ask() -> None:
    dht = MemoryDht()
    peer = RELAYS[0]
    dht.values[peer_key(peer.peer_id)] = raw = peer_record(peer)
    dht.open.clear()
    made = answers(dht)
    waiting = [asyncio.ensure_future(made.peer(peer.peer_id)) for _ in range(5)]
    await until(lambda: dht.gets)
    waiting[0].cancel()
    dht.open.set()
    assert await asyncio.gather(*waiting[1:]) == [[raw]] * 4
    assert await made.peer(peer.peer_id) == [raw]
    assert len(dht.gets) == 1
    dht.clock.now += FRESH_S
    assert await made.peer(peer.peer_id) == [raw]
    assert len(dht.gets) == 2
    await made.close()


async def test_what_was_not_found_is_looked_up_again_soon() -> None:
    dht = MemoryDht()
    peer = RELAYS[0]
    made = answers(dht)
    assert await made.peer(peer.peer_id) == []
    dht.values[peer_key(peer.peer_id)] = raw = peer_record(peer)
    assert await made.peer(peer.peer_id) == []
    dht.clock.now += FRESH_S / 3
    assert await made.peer(peer.peer_id) == [raw]


async def test_a_relay_knows_its_own_clients_without_asking() -> None:
    dht = MemoryDht()
    peer = RELAYS[0]
    made = answers(dht)
    raw = peer_record(peer, at=[OWN])
    made.take(peer.peer_id, raw)
    assert await made.peer(peer.peer_id) == [raw]
    assert not dht.gets


async def test_an_id_that_signs_nothing_is_not_looked_up() -> None:
    dht = MemoryDht()
    assert await answers(dht).peer(b"nobody's id") == []
    assert not dht.gets


async def test_a_failure_is_told_and_not_remembered() -> None:
    dht = MemoryDht()
    dht.down = True
    made = answers(dht)
    with pytest.raises(TowpathError):
        await made.peer(RELAYS[0].peer_id)
    dht.down = False
    assert await made.peer(RELAYS[0].peer_id) == []
