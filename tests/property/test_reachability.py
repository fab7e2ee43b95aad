"""Reachability's policies: whom a server dials and how often, which addresses are worth a question, and who decides."""

from __future__ import annotations

import ipaddress
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from towpath._native.endpoint import pack_remote
from towpath.addresses import peer_id_to_text, to_bytes
from towpath.internet import PublicAddresses, prefix_of
from towpath.reachability.networks import Ip, Place, place_of
from towpath.reachability.policy import (
    CANDIDATES,
    SERVERS,
    Origin,
    Server,
    Sighting,
    State,
    Vote,
    candidates,
    choose,
    judge,
    lasts,
    pace,
    rest,
    settled,
)
from towpath.reachability.serving import PAY_MAX, PAY_MIN, REFUSED, REJECTED, Grant, Limits, Serving

PEER = b"\0\x24\x08\x01\x12\x20" + bytes(32)
OTHER = b"\0\x24\x08\x01\x12\x20" + bytes(31) + b"\x01"
v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)
few_v4 = st.sampled_from([ipaddress.ip_address(f"{a}.{b}.1.{c}") for a in (1, 8) for b in (1, 2) for c in (1, 2, 3)])
ips: st.SearchStrategy[Ip] = st.one_of(v4, v6, few_v4)
ports = st.integers(1, 65535)
places = st.builds(Place, ips, ports)
few_places = st.builds(Place, few_v4, st.sampled_from([4001, 4002]))
public = PublicAddresses().__contains__


def server_at(number: int, ip: Ip) -> Server:
    return Server(number.to_bytes(4), ip)


# --- addresses -----------------------------------------------------------------------------------------------------


@given(places)
def test_a_place_survives_being_an_address(place: Place) -> None:
    assert place_of(place.address) == place
    assert place_of(place.address + to_bytes(f"/p2p/{peer_id_to_text(PEER)}"), PEER) == place
    assert place_of(place.address + to_bytes(f"/p2p/{peer_id_to_text(PEER)}")) is None
    assert place_of(place.address + to_bytes(f"/p2p/{peer_id_to_text(PEER)}"), OTHER) is None


@given(st.binary(max_size=80))
def test_nothing_that_a_peer_names_breaks_the_reader(data: bytes) -> None:
    place = place_of(data, PEER)
    assert place is None or data.startswith(place.address)


def test_forms_that_are_not_plain_tcp_are_no_places() -> None:
    for text in (
        "/dns4/example.com/tcp/4001",
        "/ip4/1.2.3.4/udp/4001/quic-v1",
        "/ip4/1.2.3.4/tcp/4001/ws",
        f"/ip4/1.2.3.4/tcp/4001/p2p/{peer_id_to_text(PEER)}/p2p-circuit",
        "/ip4/1.2.3.4/tcp/0",
        "/ip4/1.2.3.4",
    ):
        assert place_of(to_bytes(text), PEER) is None


@given(ips)
def test_only_the_internet_is_public(ip: Ip) -> None:
    if public(ip):
        assert ip.is_global
        assert not any((ip.is_private, ip.is_loopback, ip.is_multicast, ip.is_link_local))


def test_ways_around_are_not_public() -> None:
    for text in ("10.0.0.1", "127.0.0.1", "100.64.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0", "192.0.2.1",
                 "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1", "2002:a00:1::1",
                 "2001:0:a00:1::1", "ff02::1"):  # fmt: skip
        assert not public(ipaddress.ip_address(text)), text
    assert PublicAddresses(["127.0.0.0/8"]).__contains__(ipaddress.ip_address("127.0.0.1"))
    assert not PublicAddresses(["127.0.0.0/8"]).__contains__(ipaddress.ip_address("::1"))


# --- serving -------------------------------------------------------------------------------------------------------

addresses = st.lists(
    st.one_of(places.map(lambda p: p.address), few_places.map(lambda p: p.address), st.binary(max_size=40)), max_size=8
)
peers = st.sampled_from([PEER, OTHER, b"\x01" * 38])


def serving(limits: Limits | None = None, seed: int = 0) -> tuple[Serving, list[float]]:
    now = [1000.0]
    return Serving(public, lambda place: place.port != 13, random.Random(seed), lambda: now[0], limits), now


@given(peers, few_places, addresses, st.integers())
def test_what_is_dialed_is_the_first_public_address_and_another_than_the_askers_is_paid_for(
    peer: bytes, origin: Place, named: list[bytes], seed: int
) -> None:
    verdict = serving(seed=seed)[0].decide(peer, origin.address, named)
    allowed = [
        (i, place)
        for i, address in enumerate(named)
        if (place := place_of(address, peer)) is not None and public(place.ip) and place.port != 13
    ]
    if not allowed:
        assert verdict == REFUSED
        return
    assert isinstance(verdict, Grant)
    which, place = allowed[0]
    assert (verdict.which, verdict.host, verdict.port) == (which, str(place.ip), place.port)
    if place.ip == origin.ip:
        assert (verdict.owed, verdict.wait_ms) == (0, 0)
    else:
        assert PAY_MIN <= verdict.owed <= PAY_MAX
        assert 0 <= verdict.wait_ms <= 3000


@given(
    st.lists(st.tuples(st.floats(0, 30), peers, few_places, few_places, st.booleans()), max_size=200),
    st.builds(Limits, st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3)),
)
def test_no_limit_is_ever_passed(steps: list[tuple[float, bytes, Place, Place, bool]], limits: Limits) -> None:
    server, now = serving(limits)
    granted: list[tuple[float, Place, Grant]] = []
    open_: Counter[bytes] = Counter()
    for wait, peer, origin, wanted, ends in steps:
        now[0] += wait
        if ends and open_[peer]:
            server.done(peer)
            open_[peer] -= 1
        verdict = server.decide(peer, origin.address, [wanted.address])
        if isinstance(verdict, Grant):
            granted.append((now[0], origin, verdict))
            open_[peer] += 1
        else:
            assert verdict == REJECTED
        recent = [g for g in granted if now[0] - g[0] < 60]
        assert len(recent) <= limits.all
        assert sum(g[2].owed > 0 for g in recent) <= limits.paid
        assert all(n <= limits.of_network for n in Counter(prefix_of(g[1].ip) for g in recent).values())
        assert open_.total() <= limits.at_once
        assert all(n <= limits.of_peer_at_once for n in open_.values())


def test_after_a_minute_and_an_end_there_is_room_again() -> None:
    server, now = serving(Limits(all=1))
    origin = Place(ipaddress.ip_address("8.1.1.1"), 1)
    assert isinstance(server.decide(PEER, origin.address, [origin.address]), Grant)
    server.done(PEER)
    assert server.decide(PEER, origin.address, [origin.address]) == REJECTED
    now[0] += 60
    assert isinstance(server.decide(PEER, origin.address, [origin.address]), Grant)


def test_who_comes_from_nowhere_is_rejected() -> None:
    assert serving()[0].decide(PEER, b"", [pack_remote("8.8.8.8", 1)]) == REJECTED


# --- candidates ----------------------------------------------------------------------------------------------------

sightings = st.lists(st.builds(Sighting, few_v4, st.one_of(few_places, places), st.booleans()), max_size=30)


@given(st.lists(places, max_size=4), st.lists(few_places, max_size=3), sightings)
def test_candidates_are_public_few_and_seen_twice(
    listening: list[Place], mapped: list[Place], seen: list[Sighting]
) -> None:
    found = candidates(listening, mapped, seen, public)
    assert len(found) <= CANDIDATES
    assert len({candidate.place for candidate in found}) == len(found)
    for place, origin in found:
        assert public(place.ip)
        if origin is Origin.OWN:
            assert place in listening
        elif origin is Origin.MAPPED:
            assert place in mapped
        else:
            witnesses = {prefix_of(s.witness) for s in seen if s.place.ip == place.ip}
            assert len(witnesses - {prefix_of(place.ip)}) >= 2
            by = {prefix_of(s.witness) for s in seen if s.place == place and s.inbound}
            assert len(by) >= 2 or any(place.port == own.port for own in listening)


def test_one_network_is_no_witness_of_an_address() -> None:
    listening = [Place(ipaddress.ip_address("192.168.1.2"), 4001)]
    ours = Place(ipaddress.ip_address("8.8.8.8"), 50000)
    one = [Sighting(ipaddress.ip_address(f"1.1.1.{n}"), ours, inbound=False) for n in range(1, 9)]
    assert candidates(listening, [], one, public) == []
    two = [*one, Sighting(ipaddress.ip_address("1.2.1.1"), ours, inbound=False)]
    (found,) = candidates(listening, [], two, public)
    assert found == (Place(ours.ip, 4001), Origin.OBSERVED)
    inside = Place(ours.ip, 4444)
    three = [*two, Sighting(ipaddress.ip_address("1.3.1.1"), inside, inbound=True)]
    assert candidates(listening, [], three, public) == [found]
    four = [*three, Sighting(ipaddress.ip_address("1.4.1.1"), inside, inbound=True)]
    assert candidates(listening, [], four, public) == [found, (inside, Origin.OBSERVED)]


@given(
    st.lists(places, max_size=3), sightings, few_v4, st.lists(st.builds(Sighting, few_v4, few_places, st.booleans()))
)
def test_one_network_takes_no_candidate_away(
    listening: list[Place], seen: list[Sighting], liar: Ip, lies: list[Sighting]
) -> None:
    # But by crowding: there are only so many, and one more may be among them.
    before = candidates(listening, [], seen, public)
    told = [lie._replace(witness=liar) for lie in lies]
    after = candidates(listening, [], [*seen, *told], public)
    assert len(after) == CANDIDATES or set(before) <= set(after)


# --- servers and votes ---------------------------------------------------------------------------------------------


@given(st.lists(ips, max_size=20), st.lists(few_v4, max_size=3), st.integers())
def test_servers_are_outside_and_of_different_networks(found: list[Ip], ours: list[Ip], seed: int) -> None:
    servers = [server_at(n, ip) for n, ip in enumerate(found)]
    chosen = choose(servers, ours, public, random.Random(seed))
    networks = [prefix_of(server.ip) for server in chosen]
    assert len(set(networks)) == len(networks)
    assert all(public(s.ip) and s.ip not in ours and s in servers for s in chosen)
    assert set(networks) == {prefix_of(ip) for ip in found if public(ip) and ip not in ours}


votes = st.lists(st.sampled_from([True, False, None]), max_size=7).map(
    lambda said: [Vote(server_at(n, ipaddress.ip_address("8.8.8.8")), each, "") for n, each in enumerate(said)]
)


@given(votes)
def test_the_majority_of_those_who_say_something_decides(cast: list[Vote]) -> None:
    yes, no = sum(v.reached is True for v in cast), sum(v.reached is False for v in cast)
    assert judge(cast) is (True if yes > no else False if no > yes else None)


@given(votes, st.lists(st.booleans(), max_size=SERVERS))
def test_what_is_settled_cannot_change(cast: list[Vote], more: list[bool]) -> None:
    if settled(cast):
        said = sum(v.reached is not None for v in cast)
        more = more[: max(0, SERVERS - said)]
        later = [*cast, *(Vote(server_at(99, ipaddress.ip_address("8.8.8.8")), each, "") for each in more)]
        if len(later) - len(cast) + said <= SERVERS:
            assert judge(later) is judge(cast)


@given(st.lists(st.floats(0, 400), max_size=60))
def test_no_news_make_it_ask_more_often_than_five_times_in_three_minutes(calls: list[float]) -> None:
    began: list[float] = []
    now = 1000.0
    for after in calls:
        now += after / 10
        now += pace(began[-8:], now)
        began.append(now)
        assert sum(now - at < 179.9 for at in began) <= 5
    assert pace([], now) == 1


def test_a_confirmation_lasts_two_hours_while_nobody_answers() -> None:
    assert lasts(True, 1000, 8199)
    assert not lasts(True, 1000, 8200)
    assert not lasts(False, 1000, 1001)
    assert not lasts(None, 1000, 1001)


@given(st.sampled_from(State), st.integers(0, 1000), st.integers())
def test_it_is_asked_again_within_an_hour_or_so_and_not_at_once(state: State, fruitless: int, seed: int) -> None:
    assert 60 <= rest(state, fruitless, random.Random(seed)) <= 4320
