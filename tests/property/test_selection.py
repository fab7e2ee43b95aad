"""Which relay is chosen: invariants of the ranking, and figures of what many nodes do by it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.relays import advertisement, relay_id
from towpath.discovery.candidates import Candidate, Measured, networks
from towpath.discovery.outcomes import Outcome, noted, rest_left
from towpath.discovery.selection import Avoiding, diverse, rank
from towpath.reputation.score import stars

NOW = 1_800_000_000.0

shares = st.floats(0, 1)
counts = st.floats(0, 1e6)
latencies = st.none() | st.floats(0, 1e5)
times = st.just(0.0) | st.floats(NOW - 1e6, NOW)
measured = st.builds(
    Measured,
    successful=counts,
    failed=counts,
    up_s=st.floats(0, 1e6),
    watched_s=st.just(1e6),
    latency_ms=latencies,
    health=shares,
    failing=st.integers(0, 1000),
    unsure=st.booleans(),
    failed_at=times,
    refused_at=times,
    observed_at=times,
)


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    found = []
    for number in range(draw(st.integers(0, 12))):
        ip = f"{draw(st.integers(1, 3))}.{draw(st.integers(0, 2))}.0.{number + 1}"
        said = None
        if draw(st.booleans()):
            family = draw(st.sampled_from([None, "ants", "bees"]))
            said = advertisement(number, ip, load=draw(st.integers(0, 7)), family=family)
        found.append(
            Candidate(
                relay_id(number),
                (f"/ip4/{ip}/tcp/4001",) if draw(st.integers(0, 9)) else (),
                draw(st.sampled_from(["mdns", "dht", "bootstrap", "cache"])),
                said,
                draw(measured),
                walk=draw(st.none() | st.floats(0, 100)),
            )
        )
    return found


@given(candidates(), st.integers(0, 2**32))
def test_everybody_stands_in_the_list_once_and_says_why(found: list[Candidate], seed: int) -> None:
    ranked = rank(found, NOW, random.Random(seed))
    assert sorted(one.candidate.relay_id for one in ranked) == sorted(one.relay_id for one in found)
    for one in ranked:
        assert one.reasons
        assert 0 <= one.score <= 100
        assert one.stars == stars(one.score)


@given(candidates(), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_order_in_which_they_were_found_does_not_matter(
    found: list[Candidate], seed: int, chance: random.Random
) -> None:
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert rank(found, NOW, random.Random(seed)) == rank(shuffled, NOW, random.Random(seed))


@given(candidates(), st.integers(0, 2**32))
def test_volunteers_come_before_bootstrap_relays_and_those_before_what_is_not_usable(
    found: list[Candidate], seed: int
) -> None:
    ranked = rank(found, NOW, random.Random(seed))
    tiers = [(not one.usable) * 2 or int(one.candidate.source == "bootstrap") for one in ranked]
    assert tiers == sorted(tiers)


@given(candidates(), candidates(), st.integers(0, 2**32))
def test_what_is_in_use_is_avoided_with_everything_near_it(
    found: list[Candidate], in_use: list[Candidate], seed: int
) -> None:
    avoiding = Avoiding(
        frozenset(one.relay_id for one in in_use),
        frozenset(network for one in in_use for network in one.networks),
        frozenset(one.family for one in in_use if one.family is not None),
        ("3.1.0.0/24",),
    )
    ranked = rank(found, NOW, random.Random(seed), avoiding)
    for one in ranked:
        if one.usable:
            assert one.candidate.relay_id not in avoiding.relays
            assert not one.candidate.networks & avoiding.networks
            assert one.candidate.family not in avoiding.families
            assert not any(text.startswith("/ip4/3.1.0.") for text in one.candidate.addresses)
            resting = rest_left(one.candidate.own, NOW) > 0
            assert not resting or not any(other.usable for other in ranked if rest_left(other.candidate.own, NOW) == 0)


@given(candidates(), st.integers(0, 2**32), st.integers(0, 6), st.booleans())
def test_a_diverse_set_shares_no_network_and_no_family(
    found: list[Candidate], seed: int, most: int, fill: bool
) -> None:
    ranked = rank(found, NOW, random.Random(seed))
    chosen = diverse(ranked, most)
    assert len(chosen) <= most
    assert all(one.usable for one in chosen)
    for at, one in enumerate(chosen):
        for other in chosen[:at]:
            assert not one.candidate.networks & other.candidate.networks
            assert one.candidate.family is None or one.candidate.family != other.candidate.family
    filled = diverse(ranked, most, fill=True)
    assert filled[: len(chosen)] == chosen
    assert len(filled) == min(most, sum(one.usable for one in ranked))


@given(st.lists(st.tuples(st.sampled_from(list(Outcome)), st.floats(0, 1e7), latencies, st.booleans()), max_size=40))
def test_measurements_stay_within_their_bounds_whatever_happens(
    story: list[tuple[Outcome, float, float | None, bool]],
) -> None:
    now, own = NOW, Measured()
    for outcome, passed, rtt, blame in story:
        now += passed
        before, own = own, noted(own, outcome, now, rtt_ms=rtt, blame=blame)
        assert 0 <= own.uptime <= 1
        assert 0 <= own.health <= 1
        assert own.successful >= 0
        assert own.failed >= 0
        assert 0 <= rest_left(own, now) <= 3600
        assert rest_left(own, now - 1e6) <= 3600, "a clock that is set back is no reason to wait"
        if outcome is Outcome.FAILED:
            assert own.failing == before.failing + blame
            assert rest_left(own, now) > 0
        if outcome is Outcome.SERVED:
            assert own.failing == 0
            assert rest_left(own, now) == 0 or own.health < 0.2


def after(own: Measured, outcomes: list[Outcome], begin: float, each_s: float) -> tuple[Measured, float]:
    for outcome in outcomes:
        begin += each_s
        own = noted(own, outcome, begin, rtt_ms=20.0 if outcome is Outcome.SERVED else None)
    return own, begin


def test_who_was_good_for_a_month_and_then_drops_circuits_is_dropped_after_five() -> None:
    own, now = after(Measured(), [Outcome.SERVED] * 30 * 24, NOW, 3600.0)
    others = [Candidate(relay_id(n), (f"/ip4/1.{n}.0.1/tcp/1",), "dht", own=own) for n in range(5)]
    bad = relay_id(0)
    for dropped in range(1, 6):
        # It answers each time, and drops what it carries a little later.
        own, now = after(own, [Outcome.CONNECTED, Outcome.FAILED, Outcome.SERVED], now, 100.0)
        it = Candidate(bad, others[0].addresses, "dht", own=own)
        ranked = rank([it, *others[1:]], now, random.Random(dropped))
        if not next(one.usable for one in ranked if one.candidate.relay_id == bad):
            break
    assert dropped <= 5
    print(f"dropped after {dropped} failures")


def test_the_only_relay_there_is_stays_one_however_often_it_failed() -> None:
    own, now = after(Measured(), [Outcome.SERVED, *[Outcome.FAILED] * 9], NOW, 1.0)
    only = Candidate(relay_id(1), ("/ip4/1.1.0.1/tcp/1",), "dht", own=own)
    other = Candidate(relay_id(2), ("/ip4/1.2.0.1/tcp/1",), "dht")
    assert not rank([only], now + 59, random.Random(1))[0].usable
    again = rank([only], now + 61, random.Random(1))[0]
    assert again.usable
    assert again.reasons[0] == "failed 9 times in a row: asked all the same, as there is no other"
    assert [one.usable for one in rank([only, other], now + 61, random.Random(1))] == [True, False]


def test_failures_count_faster_than_successes() -> None:
    down, _ = after(Measured(), [Outcome.FAILED], NOW, 1.0)
    up = down
    steps = 0
    while up.health < 0.95:
        up, _ = after(up, [Outcome.SERVED], NOW, 1.0)
        steps += 1
    assert steps >= 10


@pytest.mark.parametrize(
    ("clients", "relays", "bound"), [(100, 20, 2.5), pytest.param(500, 50, 2.0, marks=pytest.mark.slow)]
)
def test_nobody_becomes_a_hot_spot(clients: int, relays: int, bound: float) -> None:
    """Clients that come at once, each with measurements of its own of relays that are alike, or with none."""
    for measurements in (False, True):
        chance = random.Random(clients)
        chosen: Counter[bytes] = Counter()
        for client in range(clients):
            found = []
            for number in range(relays):
                own = Measured()
                if measurements:
                    for step in range(10):
                        rtt = chance.uniform(5, 45)
                        good = chance.random() < 0.98
                        own = noted(own, Outcome.SERVED if good else Outcome.FAILED, NOW + step * 600, rtt_ms=rtt)
                ip = f"{number + 1}.{number}.0.1"
                said = advertisement(number, ip, load=chance.randrange(3))
                found.append(Candidate(relay_id(number), (f"/ip4/{ip}/tcp/4001",), "dht", said, own))
            ranked = rank(found, NOW + 86400, random.Random(client))
            chosen.update(one.candidate.relay_id for one in diverse(ranked, 2))
        worst = max(chosen.values()) / (2 * clients / relays)
        print(f"{clients} clients on {relays} relays, measured: {measurements}: at most {worst:.2f} times the mean")
        assert worst <= bound


def test_a_newcomer_is_tried_as_often_as_it_is_meant_to_be() -> None:
    own, now = after(Measured(), [Outcome.SERVED] * 100, NOW, 600.0)
    proven = [Candidate(relay_id(n), (f"/ip4/1.{n}.0.1/tcp/1",), "dht", own=own) for n in range(20)]
    new = [Candidate(relay_id(100 + n), (f"/ip4/2.{n}.0.1/tcp/1",), "dht") for n in range(5)]
    firsts = [rank([*proven, *new], now, random.Random(seed))[0].candidate for seed in range(1000)]
    share = sum(one.own.tries == 0 for one in firsts) / 1000
    assert 0.2 <= share <= 0.3
    assert len({one.relay_id for one in firsts if one.own.tries == 0}) == 5


def test_networks_are_those_of_the_internet_only() -> None:
    told = ("/ip4/192.168.1.5/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip6/fd00::1/tcp/1", "/ip6/::1/tcp/1", "/dns/a.b/tcp/1")
    assert networks(told) == frozenset()
    assert networks(("/ip4/9.8.7.6/tcp/1", "/ip6/2001:db8:1::1/tcp/1")) == {"9.8.0.0/16", "2001:db8::/32"}


@pytest.mark.slow
def test_a_client_that_knows_relays_connects_although_an_attacker_answers_every_look_up() -> None:
    """Eclipse: whatever is found is the attacker's, and fails. How many tries until somebody serves?"""
    own, now = after(Measured(), [Outcome.SERVED] * 24, NOW, 3600.0)
    tries = []
    for seed in range(200):
        rng = random.Random(seed)
        known = {relay_id(n): Candidate(relay_id(n), (f"/ip4/1.{n}.0.1/tcp/1",), "cache", own=own) for n in range(3)}
        for n in range(100, 160):
            known[relay_id(n)] = Candidate(relay_id(n), (f"/ip4/9.{n}.0.1/tcp/1",), "dht", advertisement(n, "9.9.9.9"))
        tried = 1
        while (best := rank(known.values(), now, rng)[0].candidate).source != "cache":
            tried += 1
            failed = noted(best.own, Outcome.FAILED, now, blame=False)
            known[best.relay_id] = Candidate(best.relay_id, best.addresses, "dht", best.advertisement, failed)
        tries.append(tried)
    print(f"tries until served: mean {sum(tries) / len(tries):.2f}, at most {max(tries)}")
    assert sum(tries) / len(tries) <= 1.5
    assert max(tries) <= 8
