"""The DHT process: one link to its node, towpath's DHT and perhaps the public one, each asked and served."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio
from libp2p.peer.id import ID

from towpath.dht.compat import Kad, Namespaces, hush, public_validators, towpath_validators
from towpath.dht.host import Host, Places
from towpath.dht.link import Link
from towpath.dht.messages import (
    GOSSIP,
    KAD,
    PUBLIC_KAD,
    Answer,
    Ask,
    Contact,
    GiveUp,
    Mine,
    Opened,
    Start,
    Table,
    Trouble,
)
from towpath.dht.serving import Pace, Server
from towpath.errors import TowpathError

if TYPE_CHECKING:
    from towpath.dht.gossip import Gossip

__all__ = ["main"]

ASK_S: Final = 9.0
"""The node waits a little longer."""
REFRESH_S: Final = 600.0
LONELY_S: Final = 10.0
"""Between the first attempts to find anybody at all; twice as long each time."""
TOLD_S: Final = 2.0
"""Between looks at whether the node must hear of a changed routing table."""
TOLD: Final = 40
_STALE_AT_ONCE: Final = 5


def main(descriptor: int) -> None:
    """Runs on the inherited descriptor of a SEQPACKET socket until the node closes the other end."""
    hush()
    trio.run(_run, socket.socket(fileno=descriptor))


async def _run(end: socket.socket) -> None:
    link = Link(end)
    try:
        start = await link.first()
    except EOFError:
        return
    process = Process(link, start)
    async with trio.open_nursery() as nursery:
        process.begin(nursery)
        await link.run()
        nursery.cancel_scope.cancel()


class Network:
    """One DHT: its servers, and what is kept for it."""

    def __init__(self, host: Host, kad: Kad, server: Server) -> None:
        self.host = host
        self.kad = kad
        self.server = server

    async def join(self, contacts: Sequence[ID]) -> int:
        """Asks the contacts for servers near us, then those; how many contacts serve."""
        here = self.host.get_id().to_bytes()
        answered = 0

        async def ask(contact: ID) -> None:
            nonlocal answered
            begun = trio.current_time()
            self.host.forgive(contact)
            await self.kad.peer_routing.find_node(contact, here)
            answered += self.host.answered_at(contact) >= begun

        async with trio.open_nursery() as nursery:
            for contact in contacts:
                nursery.start_soon(ask, contact)
        if answered:
            await self.kad.peer_routing.find_closest_peers_network(here)
        return answered

    async def refresh(self) -> None:
        """Looks round near us and at random, and asks a few of those not heard of for long."""
        routing = self.kad.peer_routing
        here = self.host.get_id().to_bytes()
        for stale in self.kad.routing_table.get_stale_peers()[:_STALE_AT_ONCE]:
            await routing.find_node(stale, here)
        await routing.find_closest_peers_network(here)
        await routing.find_closest_peers_network(os.urandom(32))
        self.kad.value_store.cleanup_expired()


class Process:
    """See the module."""

    def __init__(self, link: Link, start: Start) -> None:
        self._link = link
        self._start = start
        self._places = Places()
        self._asks: dict[int, trio.CancelScope] = {}
        pace = Pace()
        self._own = self._network(KAD, towpath_validators(), pace)
        self._networks = {KAD: self._own}
        if start.public:
            self._networks[PUBLIC_KAD] = self._network(PUBLIC_KAD, public_validators(), pace)
        self._gossip: Gossip | None = None
        if start.gossip:
            # py-libp2p's pubsub is as large as its DHT, and only who takes part loads it.
            from towpath.dht.gossip import Gossip

            servers = self._own.kad.routing_table.get_peer_ids
            self._gossip = Gossip(link, start.peer_id, self._places, servers)

    def _network(self, protocol: str, validators: Namespaces, pace: Pace) -> Network:
        host = Host(self._link, self._start.peer_id, self._places, protocol)
        host.is_at(self._start.addresses)
        kad = Kad(host, validators)
        return Network(host, kad, Server(kad, pace))

    def begin(self, nursery: trio.Nursery) -> None:
        """Takes what the node says from now on."""
        self._nursery = nursery
        self._link.on_stream = self._stream
        self._link.on_ask = self._ask
        self._link.on_give_up = self._give_up
        self._link.on_mine = self._mine
        self._learn(self._start.known)
        nursery.start_soon(self._tell)
        for network in self._networks.values():
            nursery.start_soon(self._maintain, network)
        if self._gossip is not None:
            nursery.start_soon(self._gossip.run)

    # --- from the node -------------------------------------------------------------------------

    def _mine(self, message: Mine) -> None:
        for network in self._networks.values():
            network.host.is_at(message.addresses)

    def _stream(self, opened: Opened, stream: trio.SocketStream) -> None:
        if opened.protocol == GOSSIP and self._gossip is not None:
            self._nursery.start_soon(self._guarded, self._gossip.serve, opened, stream)
            return
        network = self._networks.get(opened.protocol)
        if network is None:
            stream.socket.close()
            return
        if opened.listens:
            peer_id = ID(opened.peer_id)
            self._places.learn(peer_id, opened.listens)
            network.host.forgive(peer_id)
            network.kad.routing_table.admit(peer_id, self._places.of(peer_id))
        self._nursery.start_soon(self._guarded, network.server.serve, opened, stream)

    def _ask(self, ask: Ask) -> None:
        scope = self._asks[ask.number] = trio.CancelScope()
        self._nursery.start_soon(self._answer, ask, scope)

    def _give_up(self, message: GiveUp) -> None:
        scope = self._asks.get(message.number)
        if scope is not None:
            scope.cancel()

    async def _answer(self, ask: Ask, scope: trio.CancelScope) -> None:
        answer = Answer(ask.number, error="no answer from the DHT in time")
        try:
            with scope, trio.move_on_after(ASK_S):
                answer = await self._do[ask.what](self, ask)
        except (TowpathError, ValueError) as error:
            answer = Answer(ask.number, error=str(error)[:500])
        except Exception as error:  # noqa: BLE001 - told to the node; whatever peers provoke in py-libp2p ends no more
            answer = Answer(ask.number, error=f"it failed inside: {error!r}"[:500])
            await self._link.say(Trouble(f"{ask.what}: {error!r}"[:500]))
        finally:
            del self._asks[ask.number]
        if not scope.cancelled_caught:
            await self._link.say(answer)

    # --- what is asked -------------------------------------------------------------------------

    async def _join(self, ask: Ask) -> Answer:
        contacts = self._learn(ask.contacts)
        answered = 0

        async def join(network: Network) -> None:
            nonlocal answered
            count = await network.join(contacts)
            if network is self._own:
                answered = count

        async with trio.open_nursery() as nursery:
            for network in self._networks.values():
                nursery.start_soon(join, network)
        await self._tell_table()
        return Answer(ask.number, answered)

    async def _provide(self, ask: Ask) -> Answer:
        return Answer(ask.number, await self._own.kad.provider_store.publish(ask.key))

    async def _providers(self, ask: Ask) -> Answer:
        found = await self._own.kad.provider_store.find_providers(ask.key, ask.most)
        return Answer(
            ask.number,
            len(found),
            contacts=[Contact(one.peer_id.to_bytes(), [a.to_bytes() for a in one.addrs][:8]) for one in found],
        )

    async def _put(self, ask: Ask) -> Answer:
        return Answer(ask.number, await self._own.kad.put(ask.key.decode(), ask.value))

    async def _get(self, ask: Ask) -> Answer:
        value = await self._own.kad.get_value(ask.key.decode())
        return Answer(ask.number, int(value is not None), value)

    async def _find(self, ask: Ask) -> Answer:
        peer_id = ID(ask.key)
        if not self._places.of(peer_id):
            await self._own.kad.peer_routing.find_closest_peers_network(ask.key)
        found = self._places.of(peer_id)
        return Answer(ask.number, len(found), contacts=[Contact(ask.key, found)] if found else [])

    async def _tell_all(self, ask: Ask) -> Answer:
        return Answer(ask.number, 0 if self._gossip is None else await self._gossip.publish(ask.value))

    _do: Final[dict[str, Callable[[Process, Ask], Awaitable[Answer]]]] = {
        "join": _join,
        "provide": _provide,
        "providers": _providers,
        "put": _put,
        "get": _get,
        "find": _find,
        "gossip": _tell_all,
    }

    async def _guarded(self, work: Callable[..., Awaitable[object]], *arguments: object) -> None:
        # Whatever a peer provokes in py-libp2p ends this one task.
        try:
            await work(*arguments)
        except Exception as error:  # noqa: BLE001 - told to the node
            await self._link.say(Trouble(repr(error)[:500]))

    # --- by itself -----------------------------------------------------------------------------

    def _learn(self, contacts: Sequence[Contact]) -> list[ID]:
        found = []
        for contact in contacts:
            peer_id = ID(contact.peer_id)
            self._places.learn(peer_id, contact.addresses)
            found.append(peer_id)
        return found

    async def _maintain(self, network: Network) -> None:
        lonely = LONELY_S
        await self._guarded(network.join, [ID(contact.peer_id) for contact in self._start.known])
        while True:
            if network.kad.routing_table.size():
                lonely = LONELY_S
                await trio.sleep(REFRESH_S)
                await self._guarded(network.refresh)
            else:
                await trio.sleep(lonely)
                lonely = min(2 * lonely, REFRESH_S)
                await self._guarded(network.join, self._places.peer_ids()[-TOLD:])

    async def _tell(self) -> None:
        told = None
        while True:
            now = (self._own.kad.routing_table.size(), self._contacts())
            if now != told:
                told = now
                await self._tell_table()
            await trio.sleep(TOLD_S)

    async def _tell_table(self) -> None:
        await self._link.say(Table(self._own.kad.routing_table.size(), self._contacts()))

    def _contacts(self) -> list[Contact]:
        # Those around us, and some from everywhere else.
        table = self._own.kad.routing_table
        near = table.find_local_closest_peers(self._start.peer_id, TOLD)
        return [Contact(peer.to_bytes(), self._places.of(peer)) for peer in near]
