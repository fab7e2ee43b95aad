"""Whether bootstrap relays can be switched off, and what others say of a relay: invariants, and cases with figures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towpath.credits.receipts import Receipt
from towpath.identity import Identity
from towpath.reputation.digest import Digest, compose
from towpath.reputation.own import DAYS, own_reputation
from towpath.reputation.sustaining import (
    BOOTSTRAP,
    FEW_CIRCUITS,
    MOST_BOOTSTRAP,
    SPARE,
    TOP_HALF,
    Room,
    self_sustaining,
    spare_capacity,
    top_half,
)

# Whole numbers: their sums are exact in any order.
amounts = st.lists(st.integers(0, 10**9).map(float), max_size=30)
rooms = st.lists(st.builds(Room, st.floats(0, 1e6), st.floats(-0.5, 1.5)), max_size=20)
circuits = st.dictionaries(st.sampled_from(["mdns", "dht", "cache", BOOTSTRAP]), st.integers(0, 10_000))

RELAY = Identity(bytes(32)).peer_id
TODAY = 20_000


@given(amounts)
def test_the_top_half_is_the_fewest_that_have_half(some: list[float]) -> None:
    number = top_half(some)
    ordered = sorted(some, reverse=True)
    assert sum(ordered[:number]) >= sum(some) / 2
    assert number == 0 or sum(ordered[: number - 1]) < sum(some) / 2
    assert top_half([1.0] * 10) == 5
    assert top_half([100.0, 1, 1]) == 1


@given(rooms)
def test_spare_capacity_is_a_share_and_none_without_any(some: list[Room]) -> None:
    spare = spare_capacity(some)
    assert (spare is None) == (not any(room.capacity > 0 for room in some))
    assert spare is None or -1e-9 <= spare <= 1 + 1e-9


@given(circuits, rooms)
def test_it_is_said_to_stand_alone_only_when_all_holds(made: dict[str, int], some: list[Room]) -> None:
    found = self_sustaining(made, some)
    assert abs(sum(found.share_by_source.values()) - (1 if sum(made.values()) else 0)) < 1e-9
    if found.self_sustaining:
        assert sum(made.values()) >= FEW_CIRCUITS
        assert found.share_by_source.get(BOOTSTRAP, 0) <= MOST_BOOTSTRAP
        assert found.spare_capacity is not None
        assert found.spare_capacity >= SPARE
        assert found.relays_in_top_half >= TOP_HALF
        assert not found.missing
    elif found.self_sustaining is False:
        assert found.missing
        assert all(clause in found.sentence for clause in found.missing)
    # A circuit through a bootstrap relay is never an argument for doing without.
    more = self_sustaining(made | {BOOTSTRAP: made.get(BOOTSTRAP, 0) + 1000}, some)
    assert not more.self_sustaining or found.self_sustaining is not False


def test_a_network_of_volunteers_with_room_stands_alone_and_one_big_relay_does_not_make_one() -> None:
    even = [Room(256, 0.4)] * 10
    assert self_sustaining({"dht": 97, "mdns": 1, BOOTSTRAP: 2}, even).self_sustaining is True
    assert self_sustaining({"dht": 90, BOOTSTRAP: 10}, even).self_sustaining is False
    assert "10% of the circuits" in self_sustaining({"dht": 90, BOOTSTRAP: 10}, even).sentence
    assert self_sustaining({"dht": 100}, [Room(256, 0.9)] * 10).self_sustaining is False
    one = self_sustaining({"dht": 100}, [Room(100_000, 0.1), *even])
    assert (one.self_sustaining, one.relays_in_top_half) == (False, 1)
    assert "1 relay has half of the capacity" in one.sentence
    assert self_sustaining({"dht": 3}, even).self_sustaining is None
    assert self_sustaining({}, []).self_sustaining is False


def payer(n: int) -> bytes:
    return Identity(n.to_bytes(32, "big")).peer_id[6:]


def receipt(n: int, ok: int, fail: int, day: int = TODAY, relay: bytes = RELAY) -> Receipt:
    return Receipt(v=1, relay=relay, payer=payer(n), day=day, seq=1, cum_bytes=1 << 24, ok=ok, fail=fail)


def digest(n: int, relay: bytes = RELAY, day: int = TODAY - 2) -> Digest:
    made = compose(payer(n), RELAY, day, {relay: 1 << 24})
    assert made is not None
    return made


receipts = st.lists(
    st.builds(receipt, st.integers(1, 5), st.integers(0, 100), st.integers(0, 100), st.integers(TODAY - 60, TODAY + 3)),
    max_size=20,
)


@given(receipts)
def test_what_others_say_is_within_its_bounds_and_says_how_many_say_it(some: list[Receipt]) -> None:
    own = own_reputation(RELAY, some, [], TODAY)
    count = {one.payer for one in some if TODAY - DAYS < one.day <= TODAY + 1}
    assert own.peers == len(count)
    assert (own.score is None) == (not count)
    assert own.score is None or 0 <= own.score <= 100
    assert own_reputation(RELAY, reversed(some), [], TODAY)[:3] == own[:3]


def test_each_payer_has_one_voice_however_much_it_signed() -> None:
    honest = [receipt(n, 49, 1) for n in range(1, 10)]
    assert own_reputation(RELAY, honest, [], TODAY)[:3] == (98, 5, 9)
    liar = [receipt(20, 0, 4_000_000_000)]
    assert own_reputation(RELAY, honest + liar, [], TODAY).score == 98
    assert own_reputation(RELAY, [receipt(1, 1, 0, relay=Identity(bytes((1,)) * 32).peer_id)], [], TODAY).score is None


def test_a_digest_adds_no_voice_but_is_told() -> None:
    own = own_reputation(RELAY, [receipt(1, 87, 13)], [digest(1), digest(2), digest(3, day=TODAY - 50)], TODAY)
    assert own[:3] == (87, 4, 1)
    assert own.parts == [
        "87% of 100 circuits worked",
        "1 peer signed receipts for it in the last 30 days",
        "1 of them told others so",
    ]
    assert own_reputation(RELAY, [], [digest(2)], TODAY).score is None
