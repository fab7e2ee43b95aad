"""Look-ups through two relays: the newest valid answer counts, and relays that lie, fail or dawdle change nothing."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.control_pair import relaying
from tests.unit.memory_dht import NOW, Clock, MemoryDht
from tests.unit.said import SOME_RELAY, advertisement, peer_record
from towpath.discovery import lookups
from towpath.discovery.answers import InDht, KeptAnswers
from towpath.discovery.lookups import ControlRelay, Lookups, newest_peer_record, pick, valid_advertisements
from towpath.discovery.peer_records import HeldRecords
from towpath.discovery.records import read_advertisement, read_peer_record
from towpath.errors import TowpathError
from towpath.identity import Identity

PEER = Identity(bytes((1,)) * 32)
OTHER = Identity(bytes((2,)) * 32)
RELAYS = [Identity(bytes((n,)) * 32) for n in range(10, 40)]


class Asked:
    """A relay that answers by script."""

    def __init__(self, name: int, records: list[bytes] | None, *, waits: bool = False, prefix: bytes = b"") -> None:
        self.relay_id = b"relay %d" % name
        self.prefix = prefix or self.relay_id
        self.records = records
        self.open = asyncio.Event()
        if not waits:
            self.open.set()
        self.asked = 0

    async def look_up_peer(self, peer_id: bytes) -> list[bytes]:
        self.asked += 1
        await self.open.wait()
        if self.records is None:
            raise TowpathError("no answer")
        return self.records

    async def look_up_relays(self, most: int) -> list[bytes]:
        return await self.look_up_peer(b"")


def looking(*relays: Asked, wrong: list[bytes] | None = None) -> Lookups:
    told = [] if wrong is None else wrong
    return Lookups(lambda: relays, wrong=told.append, clock=lambda: NOW, rng=random.Random(1))


async def test_the_newest_of_two_answers_counts() -> None:
    old, new = peer_record(PEER, seq=1, age=60), peer_record(PEER, seq=2)
    for order in itertools.permutations((old, new)):
        found = await looking(*(Asked(n, [raw]) for n, raw in enumerate(order))).peer(PEER.peer_id)
        assert found == read_peer_record(new, NOW)


async def test_a_relay_that_withholds_hides_nothing_that_the_other_knows() -> None:
    raw = peer_record(PEER)
    assert await looking(Asked(1, []), Asked(2, [raw])).peer(PEER.peer_id) == read_peer_record(raw, NOW)
    assert await looking(Asked(1, []), Asked(2, [])).peer(PEER.peer_id) is None


@pytest.mark.parametrize(
    "lie",
    [b"", b"x" * 300, peer_record(OTHER), advertisement(PEER), peer_record(PEER)[:-1]],
    ids=["nothing", "noise", "another peer's", "another kind", "a cut one"],
)
async def test_a_relay_that_lies_is_told_of_and_not_believed(lie: bytes) -> None:
    raw, wrong = peer_record(PEER), list[bytes]()
    relays = Asked(1, [lie]), Asked(2, [raw])
    assert await looking(*relays, wrong=wrong).peer(PEER.peer_id) == read_peer_record(raw, NOW)
    assert wrong == [b"relay 1"]


@pytest.mark.parametrize("age", [7201, -301], ids=["expired", "of the future"])
async def test_a_record_that_does_not_count_now_is_no_lie_and_not_believed(age: int) -> None:
    raw, wrong = peer_record(PEER), list[bytes]()
    relays = Asked(1, [peer_record(PEER, age=age, seq=9)]), Asked(2, [raw])
    assert await looking(*relays, wrong=wrong).peer(PEER.peer_id) == read_peer_record(raw, NOW)
    assert not wrong


async def test_two_are_asked_and_another_one_in_the_place_of_each_that_fails() -> None:
    raw = peer_record(PEER)
    fine = [Asked(n, [raw]) for n in range(6)]
    assert await looking(*fine).peer(PEER.peer_id) is not None
    assert sum(one.asked for one in fine) == 2
    failing = [Asked(n, None) for n in range(5)]
    assert await looking(*failing, Asked(9, [raw])).peer(PEER.peer_id) is not None


async def test_when_nobody_answers_it_is_an_error() -> None:
    with pytest.raises(TowpathError, match="no answer"):
        await looking(Asked(1, None), Asked(2, None)).peer(PEER.peer_id)
    with pytest.raises(TowpathError, match="no relay"):
        await looking().peer(PEER.peer_id)
    assert not looking().available


async def test_one_answer_does_not_wait_long_for_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "GRACE_S", 0.02)
    raw = peer_record(PEER)
    slow = Asked(1, [raw], waits=True)
    async with asyncio.timeout(5):
        assert await looking(slow, Asked(2, [raw])).peer(PEER.peer_id) is not None


async def test_an_empty_answer_waits_for_the_other() -> None:
    raw = peer_record(PEER)
    slow = Asked(1, [raw], waits=True)
    asking = asyncio.ensure_future(looking(slow, Asked(2, [])).peer(PEER.peer_id))
    await asyncio.sleep(0.01)
    assert not asking.done()
    slow.open.set()
    assert await asking == read_peer_record(raw, NOW)


async def test_relays_come_once_from_both_and_the_newest_of_each() -> None:
    both = [advertisement(one) for one in RELAYS[:5]]
    newer_one = advertisement(RELAYS[0], seq=2, withdrawn=True)
    found = [said async for _, said in looking(Asked(1, both), Asked(2, [newer_one, *both])).relays(12)]
    newest = {said.peer_id: said for said in found}
    assert set(newest) == {one.peer_id for one in RELAYS[:5]}
    assert newest[RELAYS[0].peer_id].withdrawn
    assert len(found) <= 6


async def test_no_more_relays_are_taken_from_one_than_may_be_asked_for() -> None:
    flood = [advertisement(one) for one in RELAYS]
    found = [raw async for raw, _ in looking(Asked(1, flood)).relays(30)]
    assert found == flood[:12]


@given(st.lists(st.sampled_from(b"abcd"), max_size=8), st.integers())
def test_the_first_two_asked_are_of_two_networks_when_there_are_two(networks: list[int], seed: int) -> None:
    relays = [Asked(n, [], prefix=bytes((network,))) for n, network in enumerate(networks)]
    order = pick(relays, random.Random(seed))
    assert sorted(one.relay_id for one in order) == sorted(one.relay_id for one in relays)
    distinct = len(set(networks))
    assert len({one.prefix for one in order[:distinct]}) == distinct


_VALID = [peer_record(PEER, seq=seq) for seq in (1, 2, 3)]
_WRONG = [b"", b"x" * 200, peer_record(OTHER, seq=9), advertisement(PEER)]
_STALE = [peer_record(PEER, seq=9, age=7300), peer_record(PEER, seq=9, age=-400)]


@given(st.permutations([*_VALID, *_WRONG, *_STALE]).flatmap(lambda all_: st.lists(st.sampled_from(all_), max_size=8)))
def test_of_any_answers_the_newest_valid_one_is_taken(raws: list[bytes]) -> None:
    found, wrong = newest_peer_record(PEER.peer_id, raws, NOW)
    valid = [raw for raw in raws if raw in _VALID]
    assert wrong == sum(raw in _WRONG for raw in raws)
    assert (found[1].seq if found else 0) == max((_VALID.index(raw) + 1 for raw in valid), default=0)


_SAID = [advertisement(one, seq=seq) for one in RELAYS[:3] for seq in (1, 2)]
_UNSAID = [b"", peer_record(PEER), advertisement(PEER)[:-3]]
_OLD = [advertisement(one, seq=7, age=7300) for one in RELAYS[:2]]


@given(st.lists(st.sampled_from([*_SAID, *_UNSAID, *_OLD]), max_size=12))
def test_of_any_answers_each_relays_newest_advertisement_is_taken(raws: list[bytes]) -> None:
    found, wrong = valid_advertisements(raws, NOW)
    assert wrong == sum(raw in _UNSAID for raw in raws)
    best: dict[bytes, int] = {}
    for raw in raws:
        if raw in _SAID:
            said = read_advertisement(raw, NOW)
            best[said.peer_id] = max(best.get(said.peer_id, 0), said.seq)
    assert {said.peer_id: said.seq for _, said in found} == best


# --- on real control streams --------------------------------------------------------------------------------------


async def test_a_client_finds_a_peer_and_relays_through_two_relays() -> None:
    dht, clock = MemoryDht(), Clock()
    made = [
        KeptAnswers(
            InDht(dht, clock=clock), HeldRecords(b"", lambda _: True, dht, clock=clock), lambda: None, clock=clock
        )
        for _ in "ab"
    ]
    raw = peer_record(PEER)
    await dht.put(f"/towpath/peer/{PEER.text}", raw)
    async with relaying(lambda _: made[0]) as one, relaying(lambda _: made[1]) as other:
        asked = []
        for relay in (one, other):
            session, control = await relay.attached()
            asked.append(ControlRelay(control, session))
        client = Lookups(lambda: asked, clock=clock)
        assert client.available
        assert await client.peer(PEER.peer_id) == read_peer_record(raw, NOW)
        assert await client.peer(OTHER.peer_id) is None
        for answers in made:
            answers.heard_of(advertisement(SOME_RELAY), read_advertisement(advertisement(SOME_RELAY), NOW))
        assert [said.peer_id async for _, said in client.relays(5)] == [SOME_RELAY.peer_id]
    for answers in made:
        await answers.close()
