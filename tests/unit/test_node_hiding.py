"""Hiding one's address: who learns what, and what the status says of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.unit.nodes import ECHO, address, client, echo, loaded, relay, until
from towpath import Node, Stream
from towpath.addresses import to_bytes
from towpath.client import hiding
from towpath.client.hiding import Seen, Standing, View
from towpath.discovery.records import read_peer_record
from towpath.errors import DialError

OWN = "/towpath/test/1"


@contextlib.asynccontextmanager
async def listening(*at: Node) -> AsyncIterator[Node]:
    """A peer that is to be met at these relays, and serves OWN and ECHO."""
    async with client() as bob:
        for middle in at:
            await bob.reserve(address(middle))
        bob.set_stream_handler(OWN, echo)
        bob.set_stream_handler(ECHO, echo)
        yield bob


async def works(stream: Stream) -> bool:
    stream.write(b"hello")
    return await stream.readexactly(5) == b"hello"


def known_to(middle: Node) -> set[str]:
    """The ids of those who are connected to a relay."""
    return {row["peer"] for row in middle.peers() if row["identity"] == "relay"}


async def test_a_towpath_target_is_dialed_under_a_throw_away_identity_and_learns_the_true_one() -> None:
    async with relay() as middle, listening(middle) as bob, client() as alice:
        peers: asyncio.Queue[str] = asyncio.Queue()

        async def serve(stream: Stream) -> None:
            peers.put_nowait(stream.peer_id)
            await echo(stream)

        bob.set_stream_handler(OWN, serve)
        async with await alice.connect_to_peer_via_relay(bob.peer_id, OWN, via=address(middle)) as stream:
            assert await works(stream)
            assert stream.via == middle.relay_id
            assert await peers.get() == alice.peer_id
            assert alice.peer_id not in known_to(middle)
            assert len(known_to(middle)) == 2
            assert alice.status()["client"]["ip_hidden_missing"] == []
            assert alice.status()["client"]["ip_hidden"] is True
            (circuit,) = middle.circuits(full=True)
            assert circuit["peer"] not in (alice.peer_id, bob.peer_id)


async def test_each_target_is_dialed_under_another_identity_and_all_streams_to_one_share_it() -> None:
    async with relay() as middle, listening(middle) as bob, listening(middle) as carol, client() as alice:
        for target in (bob, carol, bob):
            assert await works(await alice.connect_to_peer_via_relay(target.peer_id, OWN, via=address(middle)))
        assert len({row["peer"] for row in middle.circuits(full=True)}) == 2
        assert len(known_to(middle) - {bob.peer_id, carol.peer_id}) == 2


async def test_a_towpath_target_without_a_record_is_asked_what_it_is_under_a_throw_away_identity() -> None:
    async with relay() as middle, listening(middle) as bob, client() as alice:
        alice._client.guide.relays_of = no_record  # type: ignore[method-assign]
        streams = await asyncio.gather(
            *(alice.connect_to_peer_via_relay(bob.peer_id, ECHO, via=address(middle)) for _ in range(3))
        )
        for stream in streams:
            assert await works(stream)
        assert alice.peer_id not in known_to(middle)
        assert alice.status()["client"]["ip_hidden"] is True
        # What asked is gone.
        await until(lambda: len(middle.circuits()) == 1)


async def test_others_are_dialed_under_the_own_id_and_the_status_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with relay() as middle, listening(middle) as bob, client() as alice:
        bob.set_stream_handler(ECHO, echo)
        # What says that bob is a towpath node is his record, and what he says of himself.
        alice._client.guide.relays_of = no_record  # type: ignore[method-assign]
        monkeypatch.setattr("towpath.client.connecting._AGENT", "another/")
        stream = await alice.connect_to_peer_via_relay(bob.peer_id, ECHO, via=address(middle))
        assert await works(stream)
        assert alice.peer_id in known_to(middle)
        status = alice.status()["client"]
        assert status["ip_hidden"] is False
        assert len(status["ip_hidden_missing"]) == 2
        assert any("sees that this machine talks with" in why for why in status["ip_hidden_missing"])
        assert any("sees this machine's address and who it is" in why for why in status["ip_hidden_missing"])


async def no_record(target: bytes) -> None:
    return None


async def test_a_peer_whose_record_is_found_is_a_towpath_node() -> None:
    async with relay() as middle, listening(middle) as bob, client(discovery__bootstrap=[address(middle)]) as alice:
        await until(lambda: len(middle._discovery.presence.held) == 1)
        assert await works(await alice.connect_with_fallback(bob.peer_id, ECHO))
        assert alice.peer_id not in known_to(middle)
        assert alice.status()["client"]["ip_hidden"] is True


async def test_no_throw_away_connection_goes_to_a_relay_that_holds_our_reservation() -> None:
    public = ["127.0.0.0/8"]
    async with (
        relay() as ours,
        relay() as other,
        listening(ours, other) as bob,
        client(network__public_ranges=public) as alice,
    ):
        await alice.reserve(address(ours))
        held = ours._discovery.presence.held
        await until(lambda: bob._discovery._keeper.raw is not None and len(bob.circuit_addresses) == 2)
        await until(lambda: len(read_peer_record(bob._discovery._keeper.raw or b"", None).circuits) == 2)
        await until(lambda: held.get(bob._peer.peer_id) == bob._discovery._keeper.raw)
        for _ in range(2):
            stream = await alice.connect_with_fallback(bob.circuit_addresses[0], OWN)
            assert stream.via == other.relay_id
            stream.reset()
        assert known_to(ours) == {alice.peer_id, bob.peer_id}
        assert alice.status()["client"]["ip_hidden"] is True


async def test_where_there_is_no_other_relay_ours_serves_and_the_status_says_what_it_sees() -> None:
    async with relay() as ours, listening(ours) as bob, client() as alice:
        await alice.reserve(address(ours))
        async with await alice.connect_with_fallback(bob.circuit_addresses[0], OWN) as stream:
            assert await works(stream)
            assert known_to(ours) == {alice.peer_id, bob.peer_id}
            (why,) = alice.status()["client"]["ip_hidden_missing"]
            assert "sees that this machine talks with" in why


async def test_a_relay_that_we_dial_through_is_no_place_for_a_second_reservation() -> None:
    async with relay() as one, relay() as other, listening(one) as bob:
        settings = {"discovery.bootstrap": [address(other)]}
        async with Node(loaded(settings, {})) as alice:
            await until(lambda: alice.held_relays() == [address(other)])
            async with await alice.connect_to_peer_via_relay(bob.peer_id, OWN, via=address(one)) as stream:
                assert await works(stream)
                alice._client.holding.changed()
                assert one._relay.peer_id in {offer.offer.relay_id for offer in alice._client.guide.offers()}
                plan = alice._client.holding._plan(0.0)
                assert plan.reserve == ()
                assert alice.status()["client"]["ip_hidden"] is True
            await alice.change_settings({"client.hide_ip": False}, persist=False)
            await until(lambda: set(alice.held_relays()) == {address(one), address(other)})


async def test_without_hiding_nothing_is_thrown_away() -> None:
    async with relay() as middle, listening(middle) as bob, client(client__hide_ip=False) as alice:
        assert await works(await alice.connect_to_peer_via_relay(bob.peer_id, OWN, via=address(middle)))
        assert alice.peer_id in known_to(middle)
        status = alice.status()["client"]
        assert status["ip_hidden"] is False
        assert "client.hide_ip is off" in status["ip_hidden_missing"]


async def test_a_throw_away_identity_ends_with_its_last_connection() -> None:
    async with relay() as middle, listening(middle) as bob, client() as alice:
        stream = await alice.connect_to_peer_via_relay(bob.peer_id, OWN, via=address(middle))
        (endpoint,) = alice._client.endpoints
        assert endpoint.peer_id != alice._peer.peer_id
        stream.reset()
        await middle.close()
        await until(lambda: alice._client.endpoints == [])
        assert endpoint.closed


async def test_a_dial_that_fails_leaves_no_identity_behind() -> None:
    async with relay() as middle, client() as alice, client() as nobody:
        with pytest.raises(DialError):
            await alice.connect_to_peer_via_relay(nobody.peer_id, OWN, via=address(middle))
        for peer in list(alice._client.endpoints[0].peers.values()) if alice._client.endpoints else []:
            for session in list(peer.sessions):
                session.close()
        await until(lambda: alice._client.endpoints == [])


async def test_no_reservation_is_made_at_a_relay_in_our_own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # On loopback everybody is a neighbour, so what loopback counts as is what the test changes.
    monkeypatch.setattr(hiding, "_FAR", ())
    async with relay() as middle, client() as bob:
        with pytest.raises(DialError, match=r"in the same network as this machine.*client\.hide_ip"):
            await bob.reserve(address(middle))
        assert bob.reservations() == []
        await bob.change_settings({"client.hide_ip": False}, persist=False)
        await bob.reserve(address(middle))
        await bob.change_settings({"client.hide_ip": True}, persist=False)
        (why,) = bob.status()["client"]["ip_hidden_missing"]
        assert "is in the same network as this machine" in why


# --- pure -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "prefix"),
    [
        ("192.31.196.7", "192.31.196.0/24"),
        ("192.168.1.20", "192.168.1.0/24"),
        ("::ffff:192.31.196.7", "192.31.196.0/24"),
        ("2001:db8:1:2ff::1", "2001:db8:1:200::/56"),
        ("127.0.0.1", None),
        ("::1", None),
        ("fe80::1%eth0", None),
        ("relay.example", None),
    ],
)
def test_the_neighbourhood_of_an_address(host: str, prefix: str | None) -> None:
    assert hiding.neighbourhood(host) == prefix


def test_the_address_of_a_multiaddr() -> None:
    assert hiding.ip_of(to_bytes("/ip4/192.31.196.7/tcp/4001")) == "192.31.196.7"
    assert hiding.ip_of(to_bytes("/ip6/2001:db8::7/tcp/4001")) == "2001:db8::7"
    for nothing in (None, b"", b"\x04\x01", to_bytes("/dns4/relay.example/tcp/1")):
        assert hiding.ip_of(nothing) is None


def test_one_relay_alone_speaks_only_for_itself() -> None:
    seen = Seen()
    seen.note("192.31.196.7", b"a", "192.52.193.1")
    assert seen.ours(b"a") == {"192.31.196.7"}
    assert seen.ours(b"b") == seen.ours() == set()
    seen.note("192.31.196.7", b"b", "192.52.193.2")  # the same network
    assert seen.ours() == set()
    seen.note("192.31.196.7", b"c", "192.175.48.1")
    assert seen.ours(b"d") == seen.ours() == {"192.31.196.7"}
    seen.note("192.31.197.9", b"c", "192.175.48.1")  # our address changed
    assert seen.ours() == set()


def test_made_up_addresses_of_ours_do_not_pile_up() -> None:
    seen = Seen()
    for n in range(1000):
        seen.note(f"10.{n // 250}.{n % 250}.1", bytes([n % 256, n // 256]), "192.52.193.1")
    assert len(seen._by) <= hiding.MOST_SEEN


HIDDEN = View(True, False, [], [Standing("ours", None, holds=True), Standing("friend", "ours")])


def test_what_is_missing_is_told_and_nothing_else() -> None:
    assert hiding.missing(HIDDEN) == []
    for change, word in (
        ({"wanted": False}, "hide_ip"),
        ({"listens": True}, "listens"),
        ({"announced": True}, "announced"),
        ({"near": ["ours"]}, "same network"),
        ({"connections": [Standing("friend", None)]}, "direct connection"),
        ({"connections": [Standing("friend", "other", ours=True)]}, "talks with friend"),
    ):
        (told,) = hiding.missing(HIDDEN._replace(**change))  # type: ignore[arg-type]
        assert word in told
