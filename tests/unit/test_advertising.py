"""The advertiser at work: what the DHT is told, when, and what is told after failures and restarts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.unit.memory_dht import NOW, Clock, MemoryDht
from tests.unit.nodes import until
from towpath import addresses
from towpath.discovery import advertising
from towpath.discovery.advertising import Advertiser
from towpath.discovery.adverts import AdvertFacts
from towpath.discovery.records import Capacity, advertisement_key, read_advertisement
from towpath.discovery.shards import shard_key, shard_of
from towpath.errors import TowpathError
from towpath.identity import Identity
from towpath.store import Store

RELAY = Identity(bytes((7,)) * 32)
KEY = advertisement_key(RELAY.peer_id)
HERE = addresses.to_bytes("/ip4/192.31.196.7/tcp/4001")


class Scene:
    def __init__(self, store: Store) -> None:
        self.clock = Clock()
        self.dht = MemoryDht(self.clock, RELAY.peer_id)
        self.store = store
        self.facts = AdvertFacts(True, (HERE,))
        self.advertiser = self.another()

    def another(self) -> Advertiser:
        return Advertiser(lambda: self.facts, self.dht, RELAY.seed, self.store, clock=self.clock)

    def change(self, facts: AdvertFacts) -> None:
        self.facts = facts
        self.advertiser.changed()


@contextlib.asynccontextmanager
async def scene(*, start: bool = True) -> AsyncIterator[Scene]:
    store = await Store.open(None)
    made = Scene(store)
    if start:
        made.advertiser.start()
    try:
        yield made
    finally:
        await made.advertiser.stop()
        await store.close()


async def test_a_relay_is_put_and_provided_under_its_shard() -> None:
    async with scene() as s:
        await until(lambda: s.dht.provided)
        said = read_advertisement(s.dht.values[KEY], NOW)
        assert said.addrs == (HERE,)
        assert s.dht.provided == {shard_key(shard_of(RELAY.peer_id)): [RELAY.peer_id]}
        assert s.advertiser.raw == s.dht.values[KEY]


@pytest.mark.parametrize(
    "facts",
    [
        AdvertFacts(False, (HERE,)),
        AdvertFacts(True),
        AdvertFacts(False),
        AdvertFacts(True, (HERE,), capacity=Capacity(reservations=0)),
    ],
)
async def test_nothing_is_told_of_what_is_no_relay_or_not_known_to_be_reachable(facts: AdvertFacts) -> None:
    async with scene(start=False) as s:
        s.facts = facts
        s.advertiser.start()
        with pytest.raises(TowpathError, match="not advertised"):
            await s.advertiser.advertise()
        await s.advertiser.stop()
        assert not s.dht.puts
        assert not s.dht.provided
        assert s.advertiser.raw is None


async def test_what_does_not_hold_any_more_is_withdrawn() -> None:
    async with scene() as s:
        await until(lambda: s.dht.provided)
        before = read_advertisement(s.dht.values[KEY], NOW)
        s.clock.now += 100
        s.change(AdvertFacts(True))
        await until(lambda: len(s.dht.puts) == 2)
        after = read_advertisement(s.dht.values[KEY], s.clock.now)
        assert after.withdrawn
        assert after.seq > before.seq
        assert after.not_after == before.not_after
        assert s.advertiser.raw is None


async def test_stopping_withdraws() -> None:
    async with scene() as s:
        await until(lambda: s.dht.provided)
        await s.advertiser.stop()
        assert read_advertisement(s.dht.values[KEY], NOW).withdrawn


async def test_stopping_does_not_wait_long_for_a_dht_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advertising, "_GOODBYE_S", 0.05)
    async with scene() as s:
        await until(lambda: s.dht.provided)
        s.dht.open.clear()
        await s.advertiser.stop()


async def test_after_a_crash_the_number_goes_on_and_what_stands_is_withdrawn() -> None:
    async with scene() as s:
        await until(lambda: s.dht.provided)
        before = read_advertisement(s.dht.values[KEY], NOW)
        s.facts = AdvertFacts(False)
        again = s.another()
        again.start()
        await until(lambda: len(s.dht.puts) == 2)
        after = read_advertisement(s.dht.values[KEY], NOW)
        assert after.withdrawn
        assert after.seq == before.seq + 1
        await again.stop()


async def test_another_identity_does_not_go_on_with_the_number_of_the_one_before() -> None:
    async with scene() as s:
        await until(lambda: s.dht.provided)
        other = Advertiser(lambda: s.facts, s.dht, bytes((8,)) * 32, s.store, clock=s.clock)
        assert other.said is None


async def test_what_the_dht_did_not_take_is_put_again_when_it_is_back() -> None:
    async with scene(start=False) as s:
        s.dht.down = True
        s.advertiser.start()
        await until(lambda: s.advertiser.problem)
        assert not s.dht.puts
        assert s.advertiser.raw is not None
        raw = s.advertiser.raw
        s.dht.down = False
        s.advertiser.changed()
        await until(lambda: s.dht.provided)
        assert [value for _, value in s.dht.puts] == [raw]
        assert s.advertiser.problem == ""


async def test_it_is_published_on_request() -> None:
    async with scene(start=False) as s:
        said = await s.advertiser.advertise()
        assert read_advertisement(s.dht.values[KEY], NOW) == said
        assert (await s.advertiser.advertise()).seq == said.seq + 1


async def test_without_a_dht_there_is_an_advertisement_for_those_who_ask() -> None:
    async with scene(start=False) as s:
        alone = Advertiser(lambda: s.facts, None, RELAY.seed, s.store, clock=s.clock)
        alone.start()
        await until(lambda: alone.raw)
        s.clock.now += 7201
        assert alone.raw is None
        await alone.stop()


async def test_a_dht_that_was_joined_later_is_told_the_same_again() -> None:
    async with scene() as s:
        await until(lambda: s.dht.provided)
        s.dht.values.clear()
        s.advertiser.republish()
        await until(lambda: len(s.dht.puts) == 2)
        assert s.dht.puts[0] == s.dht.puts[1]


async def test_the_first_relay_of_all_says_it_again_until_somebody_takes_it() -> None:
    async with scene(start=False) as s:
        s.dht.servers = 0
        s.advertiser.start()
        await until(lambda: s.dht.provided)
        s.advertiser.changed()
        s.clock.now += advertising.LOOK_S
        s.dht.servers = 3
        s.advertiser.changed()
        await until(lambda: len(s.dht.puts) == 2)
        assert s.dht.puts[0] == s.dht.puts[1]
        s.clock.now += advertising.LOOK_S
        s.advertiser.changed()
        s.change(AdvertFacts(False))
        await until(lambda: len(s.dht.puts) == 3)
        assert read_advertisement(s.dht.values[KEY], s.clock.now).withdrawn


async def test_what_cannot_be_advertised_is_left_out() -> None:
    async with scene(start=False) as s:
        circuit = addresses.to_bytes(f"/ip4/192.31.196.7/tcp/4001/p2p/{RELAY.text}/p2p-circuit")
        s.facts = AdvertFacts(True, (circuit, b"", HERE, HERE, addresses.to_bytes("/ip4/1.1.1.1/udp/1")))
        assert (await s.advertiser.advertise()).addrs == (HERE,)
        s.facts = AdvertFacts(True, (circuit,))
        with pytest.raises(TowpathError, match="no address"):
            await s.advertiser.advertise()
