"""Who is blamed for a circuit that broke: the relay, when the peer is met elsewhere at once, and otherwise nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.nodes import ECHO, address, meeting, relay, until
from towpath.addresses import peer_id_to_bytes
from towpath.client.broken import AGAIN_S, MOST, Broken
from towpath.node import Node


def failures(node: Node, of: Node) -> float:
    """How many failures a node has noted of a relay, those that may be its own line's included."""
    candidate = node._discovery.finder.candidate(peer_id_to_bytes(of.relay_id))
    return 0.0 if candidate is None else candidate.own.failed


def through_relays(node: Node) -> list[str]:
    """The relays of a node's connections through relays."""
    return [row["via"] for row in node.peers() if row["via"]]


async def test_a_relay_that_drops_a_circuit_is_blamed_when_the_peer_is_met_elsewhere() -> None:
    async with meeting() as met, relay() as other:
        await met.bob.reserve(address(other))
        await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(met.relay))
        assert failures(met.alice, met.relay) == 0
        for circuit in list(met.relay._relay.relay.circuits.values()):
            circuit.close()
        await until(lambda: not through_relays(met.alice))
        again = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(other))
        assert again.via == other.relay_id
        assert failures(met.alice, met.relay) == 1
        assert failures(met.alice, other) == 0


async def test_nobody_is_blamed_when_the_peer_leaves_and_comes_back() -> None:
    async with meeting() as met, relay() as other:
        await met.bob.reserve(address(other))
        await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(met.relay))
        for row in list(met.bob._client.endpoint.peers.values()):
            for session in [one for one in row.sessions if one.via]:
                session.close()
        await until(lambda: not through_relays(met.alice))
        await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(other))
        assert failures(met.alice, met.relay) == 0


def test_of_a_peer_that_stays_away_or_is_met_at_the_same_relay_nobody_is_blamed() -> None:
    broken = Broken()
    broken.broke(b"peer", b"relay", 10.0)
    assert broken.met(b"peer", b"relay", 11.0) is None
    assert broken.met(b"peer", b"other", 12.0) is None
    broken.broke(b"peer", b"relay", 20.0)
    assert broken.met(b"peer", b"other", 20.1 + AGAIN_S) is None
    broken.broke(b"peer", b"relay", 90.0)
    assert broken.met(b"peer", None, 91.0) == b"relay"
    assert broken.met(b"peer", None, 91.0) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400), st.integers(0, 3), st.floats(0, 100)), max_size=80))
def test_whatever_happens_only_a_relay_that_broke_is_blamed_once_and_little_is_remembered(
    happened: list[tuple[bool, int, int, float]],
) -> None:
    broken = Broken()
    owed: dict[bytes, bytes] = {}
    for broke, peer, relay_number, now in happened:
        of, through = b"%d" % peer, b"%d" % relay_number
        if broke:
            broken.broke(of, through, now)
            owed[of] = through
        else:
            blamed = broken.met(of, through, now)
            assert blamed is None or (blamed == owed.get(of) and blamed != through)
            owed.pop(of, None)
    assert len(broken._last) <= MOST
