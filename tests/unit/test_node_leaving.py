"""A relay that moves out, and one that refuses: what its client does, and what it tells its user."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from tests.unit.control_pair import NOW, Relaying, relaying
from tests.unit.nodes import ECHO, Meeting, address, client, meeting, relay, until
from towpath import Node, RelayMode
from towpath.addresses import peer_id_to_text
from towpath.client import reservations
from towpath.errors import NotRelaying, ReservationRefused, ResourceLimitExceeded
from towpath.relaystream import PROTOCOL
from towpath.relaystream.reasons import Reason
from towpath.relaystream.relay import Facts, Quota


@pytest.fixture
async def middle() -> AsyncIterator[Relaying]:
    async with relaying() as made:
        yield made


@pytest.fixture
async def bob() -> AsyncIterator[Node]:
    async with client() as node:
        yield node


def at(relay: Relaying) -> str:
    return f"/ip4/127.0.0.1/tcp/{relay.port}/p2p/{peer_id_to_text(relay.endpoint.peer_id)}"


async def test_a_refused_reservation_says_why(middle: Relaying, bob: Node) -> None:
    middle.refuses(Reason.RESERVATIONS_FULL, 128, 128)
    with pytest.raises(ReservationRefused, match="it holds 128 of 128 reservations; use another relay") as caught:
        await bob.reserve(at(middle))
    assert caught.value.reason == "it holds 128 of 128 reservations; use another relay"
    assert bob.reservations() == []
    await until(lambda: len(middle.side) == 0)


async def test_a_refused_circuit_says_why(middle: Relaying, bob: Node) -> None:
    await bob.reserve(at(middle))
    async with client() as alice:
        middle.refuses(Reason.PEER_FULL, 16, 16)
        with pytest.raises(ResourceLimitExceeded, match="16 of 16 circuits that one of the two peers may have there"):
            await alice.ping(bob.peer_id, via=at(middle))


async def test_who_reserved_hears_what_is_left(middle: Relaying, bob: Node) -> None:
    middle.facts = Facts((Quota("day", 5 * 10**9, 10**9, NOW + 3600),), 250_000)
    await bob.reserve(at(middle))
    await until(lambda: any("all together" in reason for reason in bob.relays()[0]["reasons"]))
    assert bob.relays()[0]["reasons"][1:3] == [
        "1 GB of 5 GB left of its daily quota",
        "carries 250 kB/s for all together",
    ]


async def test_a_relay_that_moves_out_is_no_way_to_us_any_more(middle: Relaying, bob: Node) -> None:
    held = await bob.reserve(at(middle))
    way = bob.circuit_addresses[0]
    middle.side.moving_out(NOW + 60, Reason.PAUSED, NOW + 7300)
    await until(lambda: held.state == "leaving")
    assert bob.circuit_addresses == []
    assert bob.status()["client"]["connected_via"] == []
    row = bob.relays()[0]
    assert row["state"] == "avoided"
    assert row["reasons"][0].startswith("its owner paused it, and ends what is open in ")
    # What is there goes on, and who knows the way still gets in.
    async with client() as alice:
        assert await alice.ping(way) > 0
    middle.side.staying()
    await until(lambda: held.state == "active")
    assert bob.circuit_addresses == [way]


async def test_a_relay_that_moves_out_is_tried_last(middle: Relaying, bob: Node) -> None:
    async with relaying() as other, client(discovery__bootstrap=[at(other)], client__hide_ip=False) as alice:
        await bob.reserve(at(middle))
        await bob.reserve(at(other))
        await alice.ping(bob.peer_id, via=at(middle))
        await alice.ping(at(other))
        await until(lambda: len(alice._client.connector.connected()) == 2)
        assert alice._client.connector.connected()[0].relay_id == middle.endpoint.peer_id
        middle.side.moving_out(NOW + 60, Reason.STOPPING)
        await until(lambda: alice.leaving(at(middle)))
        assert alice._client.connector.connected()[0].relay_id == other.endpoint.peer_id


@pytest.mark.slow
async def test_with_the_relay_the_reservation_goes_and_is_not_asked_for_before_it_is_back(
    middle: Relaying, bob: Node
) -> None:
    held = await bob.reserve(at(middle))
    middle.side.moving_out(NOW + 1, Reason.PAUSED, NOW + 3)
    told = time.monotonic()
    await until(lambda: held.state == "lost")
    assert time.monotonic() - told >= 1
    await until(lambda: held.state != "lost")
    assert time.monotonic() - told >= 3
    assert held.state == "active"


async def test_a_relay_that_says_that_it_is_back_is_asked_at_once(middle: Relaying, bob: Node) -> None:
    held = await bob.reserve(at(middle))
    relay = middle.endpoint.relay
    assert relay is not None
    middle.side.moving_out(NOW, Reason.PAUSED, NOW + 7200)
    await until(lambda: held.state == "lost")
    assert relay.reservations_made == 1
    middle.side.staying()
    await until(lambda: held.state == "active")
    assert relay.reservations_made == 2


async def test_a_relay_that_has_moved_out_and_refuses_is_told_with_its_reason(
    middle: Relaying, bob: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "_FIRST_WAIT_S", 0.02)
    held = await bob.reserve(at(middle))
    middle.refuses(Reason.RESTING)
    middle.side.moving_out(NOW, Reason.RESTING)
    await until(lambda: held.failures > 0)
    why = "the relay answered RESERVATION_REFUSED (200): it leaves the line to its owner for now; use another relay"
    assert bob.relays()[0]["reasons"][1] == why
    assert bob.relays()[0]["state"] == "candidate"


async def test_a_low_quota_ends_nothing_and_is_refreshed_as_ever(middle: Relaying, bob: Node) -> None:
    middle.policy.ttl_s = 2
    held = await bob.reserve(at(middle))
    first = held.expires_at
    middle.side.moving_out(None, Reason.QUOTA, NOW + 7200)
    await until(lambda: held.state == "leaving")
    await until(lambda: held.expires_at > first)
    assert held.state == "leaving"


async def test_a_release_takes_the_control_stream_with_it(middle: Relaying, bob: Node) -> None:
    held = await bob.reserve(at(middle))
    assert len(middle.side) == 1
    await until(lambda: bob.peers()[0]["streams"] == 1)
    await bob.release(held)
    await until(lambda: len(middle.side) == 0)
    await until(lambda: bob.peers() == [])


# --- with a whole node as the relay ------------------------------------------------------------------------------


@pytest.fixture
async def met() -> AsyncIterator[Meeting]:
    async with meeting() as made:
        yield made


async def test_a_paused_relay_tells_its_clients_and_takes_them_back() -> None:
    async with meeting(relay__drain_grace="60s") as met, client() as carol:
        (held,) = met.bob._client.held
        here, there = await met.pair()
        await met.relay.pause(7300)
        await until(lambda: held.state == "leaving")
        why = "its owner paused it, and ends what is open in 60 s, and is back in 3 h"
        assert met.bob.relays()[0]["reasons"][0] == why
        here.write(b"goes on")
        assert await there.readexactly(7) == b"goes on"
        with pytest.raises(
            NotRelaying, match="the peer does not relay now: its owner paused it, and ends what is open in"
        ):
            await carol.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(met.relay))
        with pytest.raises(NotRelaying, match="and is back in 3 h; use another relay"):
            await carol.reserve(address(met.relay))
        await met.relay.resume()
        await until(lambda: held.state == "active")
        assert await carol.ping(met.bob.peer_id, via=address(met.relay)) > 0


async def test_a_relay_paused_for_long_still_says_why_to_who_comes(met: Meeting) -> None:
    await met.relay.pause(7300)
    await until(lambda: met.relay.status()["state"] == "paused")
    async with client() as carol:
        with pytest.raises(NotRelaying, match="its owner paused it, and ends what is open now, and is back in 3 h"):
            await carol.reserve(address(met.relay))


async def test_a_resumed_relay_is_reserved_at_again_at_once(met: Meeting) -> None:
    (held,) = met.bob._client.held
    await met.relay.pause(7300)
    await until(lambda: held.state == "lost")
    await met.relay.resume()
    await until(lambda: held.state == "active")


async def test_a_relay_switched_off_is_left_and_lists_the_protocol_no_more(met: Meeting) -> None:
    (held,) = met.bob._client.held
    session = held.session
    assert session is not None
    await met.relay.set_relay_mode(RelayMode.CLIENT_ONLY)
    await until(lambda: held.failures > 0)
    assert held.state == "lost"
    await until(lambda: PROTOCOL not in (session.protocols or ()))
    async with client() as carol:
        with pytest.raises(
            NotRelaying, match=r"it does not speak /libp2p/circuit/relay/0\.2\.0/hop; use another relay"
        ):
            await carol.reserve(address(met.relay))


async def test_admission_explains_its_numbers() -> None:
    async with relay(relay__max_reservations=1, relay__max_circuits=0, relay__deny=[]) as small, client() as first:
        await first.reserve(address(small))
        async with client() as second:
            with pytest.raises(ReservationRefused, match="it holds 1 of 1 reservations"):
                await second.reserve(address(small))
            with pytest.raises(ResourceLimitExceeded, match="it carries 0 of 0 circuits"):
                await second.ping(first.peer_id, via=address(small))


async def test_a_relay_tells_its_quota_and_rate() -> None:
    async with relay(relay__max_bandwidth_per_day="5GB", relay__max_rate="1MB/s") as limited, client() as bob:
        await bob.reserve(address(limited))
        await until(lambda: any("all together" in reason for reason in bob.relays()[0]["reasons"]))
        assert bob.relays()[0]["reasons"][2] == "carries 1 MB/s for all together"
        assert "of 5 GB left of its daily quota" in bob.relays()[0]["reasons"][1]
