"""The finder: sources side by side, what is tried first, what is kept, and what is learnt of relays."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.relays import NOW, advertisement, relay_id, signed
from towpath.discovery.candidates import Found, usable_addresses
from towpath.discovery.dht_source import DhtSource
from towpath.discovery.finder import HEAD_START_S, SETTLE_S, Finder, Probed
from towpath.discovery.outcomes import Outcome
from towpath.discovery.records import NO_CAPACITY
from towpath.discovery.selection import Avoiding, diverse
from towpath.errors import DialError
from towpath.internet import PublicAddresses
from towpath.store import Store


class Told:
    """A source that tells of relays by number, after some time, and says when it was asked and left."""

    def __init__(self, name: str, numbers: Sequence[int], after_s: float = 0.0, *, endless: bool = False) -> None:
        self.name = name
        self.numbers = numbers
        self.after_s = after_s
        self.endless = endless
        self.asked_at: list[float] = []
        self.asked = asyncio.Event()
        self.left = 0
        self.fails: Exception | None = None

    async def search(self) -> AsyncIterator[Found]:
        self.asked_at.append(asyncio.get_running_loop().time())
        self.asked.set()
        try:
            await asyncio.sleep(self.after_s)
            if self.fails is not None:
                raise self.fails
            for number in self.numbers:
                yield found(number, self.name)
            if self.endless:
                await asyncio.get_running_loop().create_future()
        finally:
            self.left += 1


def found(number: int, source: str = "dht", **more: Any) -> Found:
    ip = f"{number + 1}.0.0.1"
    addresses = usable_addresses(relay_id(number), [f"/ip4/{ip}/tcp/4001"])
    said = (advertisement(number, ip), signed(number, ip)) if source == "dht" else (None, None)
    return Found(relay_id(number), addresses, source, *said, **more)


def numbers(ranked: Sequence[Any]) -> set[int]:
    known = {relay_id(number): number for number in range(64)}
    return {known[one.candidate.relay_id] for one in ranked}


def finder(*sources: Told, **more: Any) -> Finder:
    given: dict[str, Any] = {"rng": random.Random(1), "clock": lambda: float(NOW + 60)}
    return Finder(list(sources), **given | more)


async def test_it_returns_as_soon_as_enough_are_known_and_leaves_the_sources_to_find_more() -> None:
    fast, slow = Told("mdns", [1, 2]), Told("dht", [3], endless=True)
    it = finder(fast, slow)
    async with asyncio.timeout(5):
        ranked = await it.find(2, 60.0)
    assert numbers(ranked) == {1, 2}
    async with asyncio.timeout(5):
        assert numbers(await it.find(3, 60.0)) == {1, 2, 3}
    assert (fast.left, slow.left) == (1, 0)
    await it.close()
    assert slow.left == 1


async def test_a_second_after_the_first_relay_it_makes_do_with_what_there_is() -> None:
    source = Told("dht", [1], endless=True)
    it = finder(source)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(10):
        assert numbers(await it.find(4, 60.0)) == {1}
    assert loop.time() - begun >= SETTLE_S * 0.9
    assert source.left == 0, "the search goes on"
    await it.close()


async def test_earlier_sources_have_a_head_start_and_later_ones_do_not_wait_for_their_end() -> None:
    first, second, third = (Told(name, [], endless=True) for name in ("mdns", "dht", "bootstrap"))
    it = finder(first, second, third)
    assert await it.find(1, 3 * HEAD_START_S) == []
    begun = [source.asked_at[0] for source in (first, second, third)]
    assert begun[1] - begun[0] >= HEAD_START_S * 0.9
    assert begun[2] - begun[1] >= HEAD_START_S * 0.9
    await it.close()


async def test_a_source_that_has_nothing_to_say_is_not_waited_for() -> None:
    empty, next_one = Told("mdns", []), Told("dht", [1])
    it = finder(empty, next_one)
    await it.find(1, 5.0)
    assert next_one.asked_at[0] - empty.asked_at[0] < HEAD_START_S
    await it.close()


@pytest.mark.parametrize("error", [DialError("no network"), OSError(101, "unreachable")])
async def test_a_source_that_fails_takes_nothing_from_the_others(error: Exception) -> None:
    broken, well = Told("mdns", []), Told("dht", [1])
    broken.fails = error
    it = finder(broken, well)
    assert numbers(await it.find(5, 5.0)) == {1}
    await it.close()


async def test_many_who_search_at_once_share_one_search() -> None:
    source = Told("dht", [1, 2], 0.05)
    it = finder(source)
    await asyncio.gather(*(it.find(2, 5.0) for _ in range(20)))
    assert len(source.asked_at) == 1
    await it.close()


async def test_bootstrap_relays_are_not_enough_where_volunteers_may_come() -> None:
    boot, dht = Told("bootstrap", [1, 2]), Told("dht", [3], 0.1)
    it = finder(boot, dht, bootstrap=lambda: {relay_id(1), relay_id(2)})
    ranked = await it.find(1, 5.0)
    assert numbers(ranked[:1]) == {3}
    assert [one.candidate.source for one in ranked] == ["dht", "bootstrap", "bootstrap"]
    await it.close()


async def test_without_volunteers_nobody_but_bootstrap_relays_is_asked_or_told_of() -> None:
    boot, dht = Told("bootstrap", [1]), Told("dht", [3])
    it = finder(dht, boot, bootstrap=lambda: {relay_id(1)}, volunteers=lambda: False)
    it.take(found(9))
    assert numbers(await it.find(1, 5.0)) == {1}
    assert dht.asked_at == []
    await it.close()


async def test_a_bootstrap_relay_is_one_wherever_it_is_found() -> None:
    it = finder(Told("dht", [1, 2]), bootstrap=lambda: {relay_id(1)})
    sources = {one.candidate.relay_id: one.candidate.source for one in await it.find(1, 5.0)}
    assert sources == {relay_id(1): "bootstrap", relay_id(2): "dht"}
    await it.close()


async def test_we_never_find_ourselves() -> None:
    it = finder(Told("dht", [1, 2]), own={relay_id(1)})
    assert numbers(await it.find(5, 5.0)) == {2}
    await it.close()


async def test_what_the_neighbours_tell_of_counts_once_its_identify_says_that_it_relays() -> None:
    asked: list[int] = []

    async def probe(peer: bytes, addresses: Sequence[str]) -> Probed:
        number = next(n for n in range(9) if relay_id(n) == peer)
        asked.append(number)
        if number == 3:
            raise DialError("nobody there")
        return Probed(number == 1, 2.5)

    class Neighbours(Told):
        async def search(self) -> AsyncIterator[Found]:
            async for one in super().search():
                yield one._replace(relays=False)

    it = finder(Neighbours("mdns", [1, 2, 3]), probe=probe)
    ranked = await it.find(3, 5.0)
    assert numbers(ranked) == {1}
    assert ranked[0].candidate.own.latency_ms == 2.5
    await it.find(3, 5.0)
    assert sorted(asked) == [1, 2, 3], "who does not relay is not asked again at once, and who does need not be"
    await it.close()


async def test_a_neighbour_that_does_not_relay_yet_is_asked_again_soon_and_then_ever_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0], time=time.time)
    monkeypatch.setattr("towpath.discovery.finder.time", clock)
    asked = [0]

    async def probe(peer: bytes, addresses: Sequence[str]) -> Probed:
        asked[0] += 1
        return Probed(asked[0] == 4, 1.0)

    it = finder(probe=probe)
    for wait_s, asked_by_then in ((0.0, 1), (4.0, 1), (2.0, 2), (9.0, 2), (2.0, 3), (19.0, 3), (2.0, 4)):
        passed[0] += wait_s
        it.take(found(1, "mdns", relays=False))
        await it.search()
        assert asked[0] == asked_by_then
    assert numbers(it.ranked()) == {1}
    await it.close()


async def test_a_few_strangers_are_measured_after_a_search_and_nobody_twice_within_an_hour() -> None:
    asked: list[bytes] = []
    enough = asyncio.Event()
    now = [float(NOW)]

    async def probe(peer: bytes, addresses: Sequence[str]) -> Probed:
        asked.append(peer)
        if len(asked) == 4:
            enough.set()
        if peer == relay_id(5):
            raise DialError("nobody there")
        return Probed(True, 20.0)

    it = finder(Told("dht", range(1, 10)), Told("bootstrap", [20]), probe=probe, clock=lambda: now[0])
    for number in range(1, 6):
        it.take(found(number))
    it.note(relay_id(1), Outcome.SERVED)
    async with asyncio.timeout(5):
        await it.find(99, 5.0)
        await enough.wait()
        await it.close()
    assert len(asked) == len(set(asked)) == 4
    assert relay_id(1) not in asked, "what was just seen need not be asked"
    assert relay_id(20) not in asked, "bootstrap relays have other things to do"
    for peer in set(asked) - {relay_id(5)}:
        one = it.candidate(peer)
        assert one is not None
        assert one.own.latency_ms == 20.0


async def test_what_was_known_is_there_after_a_restart_and_tried_before_anybody_is_asked() -> None:
    store = await Store.open(None)
    it = finder(Told("dht", [1, 2, 3]), store=store)
    await it.find(3, 5.0)
    for _ in range(4):
        it.note(relay_id(2), Outcome.SERVED, 30.0)
    await it.close()
    source = Told("dht", [4], endless=True)
    again = finder(source, store=store)
    async with asyncio.timeout(1):
        ranked = await again.find(3, 60.0)
    assert numbers(ranked) == {1, 2, 3}
    assert {one.candidate.source for one in ranked} == {"cache"}
    by_id = {one.candidate.relay_id: one.candidate for one in ranked}
    assert by_id[relay_id(2)].own.successful > 3.9
    assert by_id[relay_id(2)].own.latency_ms == 30.0
    assert by_id[relay_id(1)].advertisement == advertisement(1, "2.0.0.1")
    async with asyncio.timeout(5):
        await again.find(4, 60.0)
    assert again.candidate(relay_id(4)) is not None
    await again.close()
    await store.close()


async def test_a_record_that_is_past_its_time_is_not_kept_but_the_relay_is() -> None:
    store = await Store.open(None)
    it = finder(Told("dht", [1]), store=store)
    await it.find(1, 5.0)
    await it.close()
    later = finder(store=store, clock=lambda: float(NOW + 3 * 3600))
    assert numbers(later.ranked()) == {1}
    assert later.ranked()[0].candidate.advertisement is None
    much_later = finder(store=store, clock=lambda: float(NOW + 90 * 86400))
    assert much_later.ranked() == []
    await store.close()


@pytest.mark.parametrize(
    "damaged",
    [7, "x", [7], [{"id": "nobody"}], [{}], [{"id": "x", "at": [], "seen_at": 1}], {"a": 1}],
)
async def test_a_damaged_cache_is_an_empty_one(damaged: Any) -> None:
    store = await Store.open(None)
    store.put("relays", damaged)
    assert finder(store=store).ranked() == []
    await store.close()


async def test_a_damaged_row_leaves_its_neighbours_alone() -> None:
    store = await Store.open(None)
    it = finder(Told("dht", [1, 2]), store=store)
    await it.find(2, 5.0)
    await it.close()
    rows = store.get("relays")
    store.put("relays", [rows[0], {"id": "?"}, rows[1] | {"ad": "AAAA"}])
    again = finder(store=store)
    assert numbers(again.ranked()) == {1, 2}
    await store.close()


async def test_a_failure_while_nothing_answers_counts_against_nobody() -> None:
    now = [float(NOW)]
    it = finder(clock=lambda: now[0])
    it.take(found(1))
    it.take(found(2))
    for _ in range(6):
        now[0] += 100
        it.note(relay_id(1), Outcome.FAILED)
    own = it.candidate(relay_id(1))
    assert own is not None
    assert (own.own.failed, own.own.health, own.own.failing) == (0.0, 1.0, 0)
    assert not it.ranked()[-1].usable
    now[0] += 11
    assert all(one.usable for one in it.ranked()), "our own line may be back"
    now[0] -= 11
    it.note(relay_id(2), Outcome.CONNECTED)
    after = it.candidate(relay_id(1))
    assert after is not None
    assert (after.own.failed, after.own.health) == (1.0, 0.6)
    now[0] += 10
    it.note(relay_id(1), Outcome.FAILED)
    last = it.candidate(relay_id(1))
    assert last is not None
    assert last.own.failed == pytest.approx(2.0, abs=0.01)
    await it.close()


async def test_a_relay_that_withdraws_is_not_used_any_more() -> None:
    it = finder()
    it.take(found(1))
    assert it.ranked()[0].usable
    gone = advertisement(1, seq=2, capacity=NO_CAPACITY)
    it.take(Found(relay_id(1), (), "dht", gone, b"raw"))
    only = it.ranked()[0]
    assert not only.usable
    assert only.reasons[0] == "it says that it relays no more"
    it.take(found(1))
    assert not it.ranked()[0].usable, "an older record takes nothing back"
    await it.close()


async def test_what_strangers_tell_of_stays_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("towpath.discovery.finder.MOST_KNOWN", 8)
    it = finder()
    it.take(found(0))
    it.note(relay_id(0), Outcome.SERVED)
    for number in range(1, 30):
        it.take(found(number))
    assert len(it.ranked()) == 8
    assert it.candidate(relay_id(0)) is not None, "what was tried is kept"
    await it.close()


async def test_rows_say_where_each_relay_stands_and_why() -> None:
    it = finder()
    for number in range(1, 5):
        it.take(found(number))
    for number in (1, 2):
        for _ in range(3):
            it.note(relay_id(number), Outcome.SERVED, 12.0)
    it.note(relay_id(4), Outcome.FAILED)
    used = {relay_id(1): ("active", ["reserved until 12:00:00"]), relay_id(2): ("standby", [])}
    avoiding = Avoiding(frozenset(used), frozenset({"2.0.0.0/16", "3.0.0.0/16"}))
    rows = it.rows(used, avoiding)
    assert [row["state"] for row in rows] == ["active", "standby", "candidate", "avoided"] or [
        row["state"] for row in rows
    ] == ["standby", "active", "candidate", "avoided"]
    mine = next(row for row in rows if row["state"] == "active")
    assert mine["score"] == 88
    assert mine["stars"] == 4
    assert mine["latency_ms"] == 12.0
    assert mine["load"] == 0
    assert mine["reasons"][:2] == ["reserved until 12:00:00", "3 of 3 tries worked, up 100% of the time"]
    assert rows[3]["reasons"][0] == "failed once in a row: not asked for another 10 s"
    await it.close()


async def test_a_strangers_record_never_leads_into_a_network_at_home() -> None:
    async def read(most: int) -> AsyncIterator[tuple[bytes, Any]]:
        for number, ips in enumerate([("9.9.9.9", "192.168.0.1"), ("10.0.0.1",), ("203.0.113.5",)]):
            yield signed(number, *ips), advertisement(number, *ips)
        yield b"", advertisement(3, capacity=NO_CAPACITY, seq=2)

    told = [one async for one in DhtSource(read, PublicAddresses).search()]
    assert [(one.relay_id, len(one.addresses)) for one in told] == [(relay_id(0), 1), (relay_id(3), 0)]
    laboratory = [one async for one in DhtSource(read, lambda: PublicAddresses(["203.0.113.0/24"])).search()]
    assert relay_id(2) in {one.relay_id for one in laboratory}


async def test_a_diverse_pair_is_found_among_neighbours() -> None:
    it = finder()
    for number, ip in ((1, "5.5.0.1"), (2, "5.5.0.2"), (3, "6.6.0.1")):
        addresses = usable_addresses(relay_id(number), [f"/ip4/{ip}/tcp/4001"])
        it.take(Found(relay_id(number), addresses, "dht", advertisement(number, ip)))
    assert 3 in numbers(diverse(it.ranked(), 2))
    await it.close()


async def test_closing_ends_everything_and_hears_nothing_any_more() -> None:
    source = Told("dht", [1], endless=True)
    it = finder(source)
    waiting = asyncio.create_task(it.find(5, 60.0))
    await source.asked.wait()
    async with asyncio.timeout(5):
        await it.close()
        await waiting
    it.take(found(7))
    assert it.candidate(relay_id(7)) is None
    assert source.left == 1


async def test_the_walk_score_of_a_relays_account_counts_in_its_rank() -> None:
    accounts = {number: bytes([number]) * 32 for number in range(2)}
    source = Told("dht", [])
    finding = finder(source)
    for number, ip in ((0, "1.0.0.1"), (1, "2.0.0.1"), (2, "3.0.0.1")):
        addresses = usable_addresses(relay_id(number), [f"/ip4/{ip}/tcp/4001"])
        said = advertisement(number, ip, account=accounts.get(number))
        finding.take(Found(relay_id(number), addresses, "dht", said, signed(number, ip)))
    assert {one.candidate.walk for one in finding.ranked()} == {None}
    finding.walks = lambda: {accounts[0]: 100.0}
    # One without an account gains nothing by that.
    assert [one.candidate.walk for one in sorted(finding.ranked(), key=lambda one: -one.score)] == [100.0, 0.0, 0.0]
    assert max(one.score for one in finding.ranked()) == 40
    await finding.close()


async def test_what_a_relay_was_used_for_is_told_and_a_failure_once_it_is_the_relays() -> None:
    told: list[tuple[bytes, bool]] = []
    it = finder()
    it.tried = lambda relay, served: told.append((relay, served))
    for number in (1, 2):
        it.take(found(number))
    # Nobody answers yet: it may be our own line.
    it.note(relay_id(1), Outcome.FAILED, used=True)
    it.note(relay_id(2), Outcome.FAILED)
    assert told == []
    it.note(relay_id(2), Outcome.SERVED, used=True)
    assert sorted(told) == sorted([(relay_id(2), True), (relay_id(1), False)])
    it.note(relay_id(1), Outcome.FAILED, used=True)
    it.note(relay_id(1), Outcome.FAILED)
    it.note(relay_id(2), Outcome.KEPT, used=True)
    assert told[2:] == [(relay_id(1), False)]
    await it.close()
