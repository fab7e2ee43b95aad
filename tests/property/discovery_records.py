"""Any record that its signer may publish, and the keys that sign."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from towpath import addresses
from towpath.discovery.records import (
    LIFE_S,
    MAX_ADDRESSES,
    MAX_CIRCUITS,
    NO_CAPACITY,
    Advertisement,
    Capacity,
    PeerRecord,
    Record,
)
from towpath.identity import Identity

NOW = 1_900_000_000

identities = st.integers(1, 60).map(lambda n: Identity(bytes((n,)) * 32))
_PLACES = tuple(
    addresses.to_bytes(place)
    for n in range(1, 31)
    for place in (
        f"/ip4/{IPv4Address(n * 0x07AB_CDEF % 2**32)}/tcp/{n}",
        f"/ip6/{IPv6Address(n**29 % 2**128)}/tcp/{65536 - n}",
        f"/dns4/{'name' * (n % 5)}{n}.example/tcp/443",
    )
)
places = st.sampled_from(_PLACES)
_amounts = st.none() | st.integers(1, 2**63 - 1)
capacities = st.builds(Capacity, _amounts, _amounts, _amounts, _amounts)
seqs = st.integers(0, 2**63 - 1)
percents = st.none() | st.integers(0, 100)


@st.composite
def advertisements(draw: st.DrawFn, identity: Identity) -> Advertisement:
    """What this relay may say at NOW: it is valid then."""
    begin = draw(st.integers(NOW - LIFE_S, NOW + 300))
    gone = draw(st.booleans())
    return Advertisement(
        v=1,
        peer_id=identity.peer_id,
        addrs=tuple(draw(st.lists(places, min_size=0 if gone else 1, max_size=MAX_ADDRESSES, unique=True))),
        mode=draw(st.sampled_from(("cooperative", "dedicated"))),
        capacity=NO_CAPACITY if gone else draw(capacities),
        load=draw(st.integers(0, 7)),
        price=0,
        reputation=draw(percents),
        uptime_estimate=draw(percents),
        last_seen=begin,
        seq=draw(seqs),
        not_after=draw(st.integers(max(NOW, begin), begin + LIFE_S)),
        account=draw(st.none() | st.binary(min_size=32, max_size=32)),
        family=draw(st.none() | st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=32)),
    )


@st.composite
def circuits(draw: st.DrawFn, not_through: Identity) -> bytes:
    """A circuit address at some relay."""
    relay = draw(identities.filter(lambda other: other.peer_id != not_through.peer_id))
    text = addresses.to_text(draw(places))
    return addresses.to_bytes(f"{text}/p2p/{relay.text}/p2p-circuit")


@st.composite
def peer_records(draw: st.DrawFn, identity: Identity) -> PeerRecord:
    """What this peer may say at NOW: it is valid then."""
    begin = draw(st.integers(NOW - LIFE_S, NOW + 300))
    return PeerRecord(
        v=1,
        peer_id=identity.peer_id,
        circuits=tuple(draw(st.lists(circuits(identity), max_size=MAX_CIRCUITS, unique=True))),
        seq=draw(seqs),
        issued=begin,
        not_after=draw(st.integers(max(NOW, begin), begin + LIFE_S)),
    )


@st.composite
def by_somebody(draw: st.DrawFn) -> tuple[Identity, Record]:
    """A signer and what it says."""
    identity = draw(identities)
    return identity, draw(advertisements(identity) | peer_records(identity))
