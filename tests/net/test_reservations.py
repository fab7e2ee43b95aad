"""Reservations: what they carry, how long they last, how they are lost, and how many there may be."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.net.conftest import StartRelay, meeting_at
from tests.peerlab import Identity, Link, Peer, Refused, RelayProcess, Status, asked_until, circuit_between, meanwhile
from tests.peerlab.circuit import (
    HOP,
    HopType,
    Reservation,
    connect_message,
    hop_answer,
    hop_message,
    peer,
    reserve_message,
)
from tests.peerlab.multiaddr import socket_address, to_text

HOUR = 3600


async def reserve_as_new_peer(relay: RelayProcess, peers: list[Peer], source: str | None = None) -> Reservation:
    """A peer of its own, which stays, asks for a reservation."""
    peers.append(Peer(source=source))
    return await (await peers[-1].dial(relay)).reserve()


async def test_a_reservation_lasts_an_hour(relay: RelayProcess) -> None:
    async with Peer() as bob:
        reservation = await (await bob.dial(relay)).reserve()
        assert abs(reservation.expires - (time.time() + HOUR)) < 5


@pytest.mark.parametrize(
    "kind", [Identity.ed25519, Identity.secp256k1, Identity.ecdsa, Identity.rsa], ids=lambda kind: kind.__name__
)
async def test_a_voucher_is_signed_by_the_relay_and_made_out_to_the_peer(
    relay: RelayProcess, kind: Callable[[], Identity]
) -> None:
    async with Peer(kind()) as bob:
        reservation = await (await bob.dial(relay)).reserve()
        voucher = reservation.checked_voucher()
        assert voucher.signer == voucher.relay == relay.peer_id
        assert voucher.peer == bob.peer_id
        assert voucher.expires == reservation.expires


async def test_a_reservation_names_every_address_of_the_relay_with_its_id(relay: RelayProcess) -> None:
    async with Peer() as bob:
        reservation = await (await bob.dial(relay)).reserve()
        assert sorted(map(to_text, reservation.addresses)) == sorted(relay.addresses)


async def test_the_addresses_of_a_reservation_lead_to_the_relay(relay: RelayProcess) -> None:
    async with Peer() as bob, Peer() as alice:
        at_relay = await bob.dial(relay)
        for address in (await at_relay.reserve()).addresses:
            where, who = socket_address(to_text(address))
            listener = relay.listening_on("ip6" if ":" in where[0] else "ip4")
            assert listener.address == where
            assert who == relay.ready["relay_id"]
            await circuit_between(await alice.dial(listener), at_relay)


@pytest.mark.parametrize("listen", ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0", "/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"])
async def test_no_listener_is_without_addresses_or_with_the_unspecified_one(
    start_relay: StartRelay, listen: str
) -> None:
    relay = start_relay(listen=(listen,))
    host = "127.0.0.1" if "ip4" in listen else "::1"
    port = socket_address(relay.addresses[0])[0][1]
    async with Peer() as bob:
        link = await bob.dial(Elsewhere((host, port), relay.peer_id))
        addresses = [to_text(address) for address in (await link.reserve()).addresses]
        assert addresses
        for address in addresses:
            assert "/0.0.0.0/" not in address
            assert "/ip6/::/" not in address


class Elsewhere:
    """A relay at another address than it says."""

    def __init__(self, address: tuple[str, int], peer_id: bytes) -> None:
        self.address, self.peer_id = address, peer_id


async def test_an_announced_address_is_in_the_reservation(start_relay: StartRelay) -> None:
    relay = start_relay({"network.announce": "/ip4/192.31.196.7/tcp/4001"})
    async with Peer() as bob:
        link = await bob.dial(relay.listening_on("ip4/127.0.0.1"))
        addresses = [to_text(address) for address in (await link.reserve()).addresses]
        assert f"/ip4/192.31.196.7/tcp/4001/p2p/{relay.ready['relay_id']}" in addresses


async def test_a_refresh_moves_the_expiry_and_keeps_the_place(start_relay: StartRelay) -> None:
    relay = start_relay({"relay.max_reservations": "1", "relay.max_reservations_per_ip": "1"})
    async with Peer() as bob:
        link = await bob.dial(relay)
        first = await link.reserve()

        async def later() -> bool:
            return (await link.reserve()).expires > first.expires

        await asked_until(later, "a later expiry")


async def test_a_reservation_expires(start_relay: StartRelay) -> None:
    relay = start_relay({"relay.reservation_ttl": "2s"})
    async with meeting_at(relay) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)

        async def expired() -> bool:
            return await connect_and_accept(met.to_relay, met.at_relay) == Status.NO_RESERVATION

        await asked_until(expired, "the expiry", patience=5)
        await here.write(b"circuits that are open stay open")
        assert await there.read(32) == b"circuits that are open stay open"
        await met.at_relay.reserve()
        assert await connect_and_accept(met.to_relay, met.at_relay) == Status.OK


async def connect_and_accept(dialer: Link, target: Link) -> int:
    """The status of an attempt which the target, if it is asked, accepts."""
    async with meanwhile(accept_and_wait(target)):
        try:
            stream = await dialer.connect(target.peer.peer_id)
        except Refused as refused:
            return refused.status or 0
        await stream.reset()
        return Status.OK


async def accept_and_wait(target: Link) -> None:
    """Accepts one circuit, if one comes, and stays until it ends."""
    await (await target.accept()).end()


async def test_a_reservation_refreshed_in_time_does_not_expire(start_relay: StartRelay) -> None:
    relay = start_relay({"relay.reservation_ttl": "2s"})
    async with meeting_at(relay) as met:
        began = time.monotonic()
        while time.monotonic() - began < 4:
            await met.at_relay.reserve()
            await circuit_between(met.to_relay, met.at_relay)
            await asyncio.sleep(0.5)


async def test_a_reservation_outlives_one_of_two_connections_and_goes_with_the_last(relay: RelayProcess) -> None:
    async with meeting_at(relay) as met:
        second = await met.bob.dial(relay)
        await second.reserve()
        await met.at_relay.leave()
        assert await connect_and_accept(met.to_relay, second) == Status.OK
        await second.leave()

        async def lost() -> bool:
            return await met.to_relay.status_of(connect_message(met.bob.peer_id)) == Status.NO_RESERVATION

        await asked_until(lost, "the loss of the reservation", patience=2)


async def test_places_are_limited_refused_with_the_right_status_and_given_back(start_relay: StartRelay) -> None:
    relay = start_relay({"relay.max_reservations": "2"})
    peers: list[Peer] = []
    try:
        for _ in range(2):
            await reserve_as_new_peer(relay, peers)
        with pytest.raises(Refused, match="RESERVATION_REFUSED"):
            await reserve_as_new_peer(relay, peers)
        await peers[0].links[0].reserve()
        await peers[0].links[0].leave(abruptly=True)

        async def free_again() -> bool:
            return await peers[2].links[0].status_of(reserve_message()) == Status.OK

        await asked_until(free_again, "the return of the place", patience=2)
    finally:
        for one in peers:
            await one.__aexit__(None, None, None)


async def test_one_address_gets_so_many_places_and_another_gets_its_own(start_relay: StartRelay) -> None:
    relay = start_relay({"relay.max_reservations_per_ip": "2"})
    peers: list[Peer] = []
    try:
        for _ in range(2):
            await reserve_as_new_peer(relay, peers, "127.0.0.1")
        with pytest.raises(Refused, match="RESERVATION_REFUSED"):
            await reserve_as_new_peer(relay, peers, "127.0.0.1")
        await reserve_as_new_peer(relay, peers, "127.0.0.2")
    finally:
        for one in peers:
            await one.__aexit__(None, None, None)


async def test_sixty_four_hop_streams_at_once_are_all_answered(relay: RelayProcess) -> None:
    async with meeting_at(relay) as met:
        granted = await asyncio.gather(*(met.to_relay.reserve() for _ in range(64)))
        assert len(granted) == 64
        asking = [asyncio.create_task(met.to_relay.connect(met.bob.peer_id)) for _ in range(64)]
        accepted = [await met.at_relay.accept() for _ in range(64)]
        for stream in await asyncio.gather(*asking):
            await stream.write(b"hello")
        for stream in accepted:
            assert await stream.read(5) == b"hello"


async def test_the_handshake_says_who_reserves_whatever_the_message_says(relay: RelayProcess) -> None:
    victim = Identity.ed25519()
    async with Peer() as mallory, Peer() as alice:
        link = await mallory.dial(relay)
        _, answer = await link.ask_hop(hop_message((1, HopType.RESERVE), (2, peer(victim.peer_id))))
        assert answer.reservation
        assert answer.reservation.checked_voucher().peer == mallory.peer_id
        to_relay = await alice.dial(relay)
        assert await to_relay.status_of(connect_message(victim.peer_id)) == Status.NO_RESERVATION
        assert await connect_and_accept(to_relay, link) == Status.OK


async def test_the_handshake_says_who_connects_whatever_the_message_says(relay: RelayProcess) -> None:
    async with meeting_at(relay) as met:
        forged = peer(met.bob.peer_id) + b"\x0a" + bytes([len(met.bob.peer_id)]) + met.bob.peer_id
        stream = await met.to_relay.open(HOP, hop_message((1, HopType.CONNECT), (2, forged)))
        stop = await met.at_relay.next_stop()
        assert stop.source == met.alice.peer_id
        await stop.accept()
        assert hop_answer(await stream.read_message()).status == Status.OK
