"""Whom a relay admits: limits are never exceeded, deny wins, and its numbers are all that count."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from towpath.addresses import peer_id_to_text
from towpath.relay.admission import Admission
from towpath.settings import RelaySettings, Settings

OK, REFUSED, EXCEEDED, DENIED = 100, 200, 201, 202

DEFAULTS: RelaySettings = Settings.load({"relay.mode": "dedicated"}, environ={}).relay

PEERS = st.binary(min_size=32, max_size=32).map(lambda key: b"\x00\x24\x08\x01\x12\x20" + key)
IPS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
COUNTS = st.integers(0, 40)
LIMITS = st.one_of(st.none(), st.integers(1, 40))


def multiaddr(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    code = b"\x04" if address.version == 4 else b"\x29"
    return code + address.packed + b"\x06\x0f\xa1"


def admission(**fields: Any) -> Admission:
    return Admission(msgspec.structs.replace(DEFAULTS, **fields))


@given(LIMITS, LIMITS, COUNTS, COUNTS, st.booleans(), PEERS, IPS)
def test_reservations_stay_within_both_limits(
    most: int | None, of_ip: int | None, held: int, of_prefix: int, renewing: bool, peer: bytes, ip: Any
) -> None:
    policy = admission(max_reservations=most, max_reservations_per_ip=of_ip)
    verdict = policy.reserve(peer, multiaddr(ip), renewing, held, of_prefix)
    room = (most is None or held < most) and (of_ip is None or of_prefix < of_ip)
    assert verdict.status == (OK if room or renewing else REFUSED)
    assert (verdict.ttl_s > 0) == (verdict.status == OK)


@given(LIMITS, LIMITS, COUNTS, COUNTS, COUNTS, PEERS, PEERS, IPS)
def test_circuits_stay_within_all_limits(
    most: int | None, of_peer: int | None, now: int, of_dialer: int, of_target: int, a: bytes, b: bytes, ip: Any
) -> None:
    policy = admission(max_circuits=most, max_circuits_per_peer=of_peer)
    verdict = policy.connect(a, b, multiaddr(ip), now, of_dialer, of_target)
    room = (most is None or now < most) and (of_peer is None or max(of_dialer, of_target) < of_peer)
    assert verdict.status == (OK if room else EXCEEDED)


@given(PEERS, IPS, st.integers(0, 128), st.booleans(), st.booleans())
def test_deny_wins_over_allow_and_allow_over_the_rest(peer: bytes, ip: Any, bits: int, by_id: bool, both: bool) -> None:
    bits = min(bits, ip.max_prefixlen)
    network = str(ipaddress.ip_network((ip, bits), strict=False))
    entry = peer_id_to_text(peer) if by_id else network
    stranger = b"\x00\x24\x08\x01\x12\x20" + bytes(32)
    assume(peer != stranger)
    denying = admission(deny=(entry,), allow=(entry,) if both else ())
    allowing = admission(allow=(entry,))
    for ask in ("reserve", "connect"):
        numbers = (False, 0, 0) if ask == "reserve" else (0, 0, 0)
        ids = (peer,) if ask == "reserve" else (peer, stranger)
        others = (stranger,) if ask == "reserve" else (stranger, peer)
        remote = multiaddr(ip)
        assert getattr(denying, ask)(*ids, remote, *numbers).status == DENIED
        assert getattr(allowing, ask)(*ids, remote, *numbers).status == OK
        assert getattr(allowing, ask)(*others, remote, *numbers).status == (DENIED if by_id else OK)


@given(PEERS, st.binary(max_size=30))
def test_a_connection_from_nowhere_is_in_no_network(peer: bytes, remote: bytes) -> None:
    """Over memory or a circuit there is no address; what cannot be read is no reason to fail."""
    assume(len(remote) < 5)
    policy = admission(deny=("0.0.0.0/0", "::/0"))
    assert policy.reserve(peer, remote, False, 0, 0).status == OK


@given(st.one_of(st.none(), st.floats(0.001, 1e6)), st.one_of(st.none(), st.integers(1, 1 << 50)))
def test_limits_told_are_limits_kept_and_none_is_told_as_none(duration: float | None, data: int | None) -> None:
    policy = admission(circuit_duration=duration, circuit_data=data)
    for verdict in (policy.reserve(b"", b"", False, 0, 0), policy.connect(b"", b"", b"", 0, 0, 0)):
        assert (verdict.limit_s == 0) == (duration is None)
        assert verdict.limit_data == (data or 0)
        if duration is not None:
            assert abs(verdict.limit_s - duration) <= 1
