"""Who may reserve and who may connect: the policy, asked with numbers."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath import Settings
from towpath.identity import Identity
from towpath.relay.admission import Admission, PeerList

OK, REFUSED, EXCEEDED, DENIED = 100, 200, 201, 202
ALICE, BOB = Identity(b"\x01" * 32), Identity(b"\x02" * 32)


def admission(**relay: Any) -> Admission:
    given = {"relay.mode": "dedicated"} | {f"relay.{name}": value for name, value in relay.items()}
    return Admission(Settings.load(given, environ={}).relay)


def remote(ip: str, port: int = 4001) -> bytes:
    """The binary multiaddr of a connection."""
    address = ipaddress.ip_address(ip)
    return (b"\x04" if address.version == 4 else b"\x29") + address.packed + b"\x06" + port.to_bytes(2, "big")


HERE = remote("192.0.2.7")


def test_a_reservation_lasts_as_set_and_tells_limits_only_when_there_are_any() -> None:
    free = admission(reservation_ttl="30m").reserve(ALICE.peer_id, HERE, False, 0, 0)
    assert (free.status, free.ttl_s, free.limit_s, free.limit_data) == (OK, 1800, 0, 0)
    limited = admission(circuit_duration="2m", circuit_data="1MiB")
    for verdict in (
        limited.reserve(ALICE.peer_id, HERE, False, 0, 0),
        limited.connect(ALICE.peer_id, BOB.peer_id, HERE, 0, 0, 0),
    ):
        assert (verdict.status, verdict.limit_s, verdict.limit_data) == (OK, 120, 1024 * 1024)


@given(st.integers(0, 200), st.integers(0, 20))
def test_reservations_end_at_their_number_and_at_their_neighbourhoods(now: int, of_prefix: int) -> None:
    policy = admission(max_reservations=100, max_reservations_per_ip=8)
    verdict = policy.reserve(ALICE.peer_id, HERE, False, now, of_prefix)
    assert verdict.status == (OK if now < 100 and of_prefix < 8 else REFUSED)


@given(st.integers(0, 200), st.integers(0, 20))
def test_who_has_a_reservation_keeps_it_however_full_it_is(now: int, of_prefix: int) -> None:
    policy = admission(max_reservations=100, max_reservations_per_ip=8)
    assert policy.reserve(ALICE.peer_id, HERE, True, now, of_prefix).status == OK


@given(st.integers(0, 200), st.integers(0, 20), st.integers(0, 20))
def test_circuits_end_at_their_number_and_at_each_peers(now: int, of_dialer: int, of_target: int) -> None:
    policy = admission(max_circuits=100, max_circuits_per_peer=16)
    verdict = policy.connect(ALICE.peer_id, BOB.peer_id, HERE, now, of_dialer, of_target)
    assert verdict.status == (OK if now < 100 and max(of_dialer, of_target) < 16 else EXCEEDED)


def test_unlimited_is_no_limit() -> None:
    names = ("max_reservations", "max_reservations_per_ip", "max_circuits", "max_circuits_per_peer")
    policy = admission(**dict.fromkeys(names, "unlimited"))
    assert policy.reserve(ALICE.peer_id, HERE, False, 10**9, 10**9).status == OK
    assert policy.connect(ALICE.peer_id, BOB.peer_id, HERE, 10**9, 10**9, 10**9).status == OK


@pytest.mark.parametrize(
    ("allow", "deny", "who", "at", "admitted"),
    [
        ([], [], ALICE, "192.0.2.7", True),
        ([ALICE.text], [], ALICE, "192.0.2.7", True),
        ([ALICE.text], [], BOB, "192.0.2.7", False),
        ([], [ALICE.text], ALICE, "192.0.2.7", False),
        ([], [ALICE.text], BOB, "192.0.2.7", True),
        ([ALICE.text], [ALICE.text], ALICE, "192.0.2.7", False),
        (["192.0.2.0/24"], [], BOB, "192.0.2.255", True),
        (["192.0.2.0/24"], [], BOB, "192.0.3.1", False),
        (["192.0.2.0/24"], ["192.0.2.7"], BOB, "192.0.2.7", False),
        (["192.0.2.0/24"], ["192.0.2.7"], BOB, "192.0.2.8", True),
        (["0.0.0.0/0"], [], BOB, "2001:db8::1", False),
        (["2001:db8::/32"], [], BOB, "2001:db8::1", True),
        ([], ["2001:db8::/64"], BOB, "2001:db8:0:1::1", True),
        ([], ["2001:db8::/64"], BOB, "2001:db8::ffff", False),
        ([ALICE.text, "2001:db8::/32"], [BOB.text], BOB, "2001:db8::1", False),
    ],
)
def test_deny_wins_over_allow_for_ids_and_prefixes(
    allow: list[str], deny: list[str], who: Identity, at: str, admitted: bool
) -> None:
    policy = admission(allow=allow, deny=deny)
    wanted = OK if admitted else DENIED
    # A renewal is no way around it, and whom a circuit leads to is not asked.
    assert policy.reserve(who.peer_id, remote(at), False, 0, 0).status == wanted
    assert policy.reserve(who.peer_id, remote(at), True, 0, 0).status == wanted
    assert policy.connect(who.peer_id, BOB.peer_id, remote(at), 0, 0, 0).status == wanted


def test_a_connection_without_an_address_is_in_no_prefix() -> None:
    listed = PeerList(["0.0.0.0/0", "::/0", ALICE.text])
    assert not listed.contains(BOB.peer_id, b"")
    assert listed.contains(ALICE.peer_id, b"")
    assert not PeerList([])


def test_verdicts_are_made_once() -> None:
    policy = admission()
    first = policy.reserve(ALICE.peer_id, HERE, False, 0, 0)
    assert policy.reserve(BOB.peer_id, HERE, True, 5, 5) is first
