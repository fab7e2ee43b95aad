"""py-libp2p's gossipsub on one topic, with its faults worked around: neighbours, the gate before it, and bounds.

Each side of a link opens a stream, on which it alone speaks. Neighbours are servers of our DHT, chosen at random, and
whoever chose us. What is wrong in the library, each shown by tests/unit/dht/test_gossip_faults.py:

- IDS: the cache of messages, IHAVE and IWANT know a message by its sender and number, whatever function is given.
  → gossip_frames.message_of makes the number the hash.
- RECORDS: every frame brings a signed peer record, and one that cannot be read loses the frame. → gossip_frames.
- GROWTH: times of deliveries, and of peers that pruned us, are kept for ever. → `_tidy`.
- SPAM: more than 10 messages a second from one peer vanish. → switched off; the gate counts.
- VERDICTS: a message that was ignored once is ignored for 5 minutes, whoever brings it. → the cache of verdicts is off.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final, cast

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamClosed, StreamEOF
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb.rpc_pb2 import Message
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from towpath.dht.gossip_frames import MAX_FRAME, message_of, vetted, without_record
from towpath.dht.host import OPEN_S, Places
from towpath.dht.link import Link, NoStream
from towpath.dht.messages import GOSSIP, Heard, Opened, Trouble
from towpath.dht.streams import Buffered, ProtocolError, frame, read_message
from towpath.reputation.digest import DigestError
from towpath.reputation.gate import Gate, Verdict
from towpath.reputation.messages import TOPIC, open_message

__all__ = ["Gossip", "network_of"]

WANTED: Final = 6
"""Neighbours that we look for."""
MOST: Final = 24
"""That we have, whoever chose whom,"""
MOST_OF_NETWORK: Final = 4
"""and of one network (a /24 or /48) among those that chose us: ids cost nothing, networks do."""
HEARTBEAT_S: Final = 2
LOOK_S: Final = 5.0
ALONE_S: Final = 1.0
"""Between looks for neighbours, and while there is none."""
AWAY_S: Final = (10.0, 300.0)
"""A peer with which no link came about, or stood, is not chosen again for so long: at first, and at last."""
READY_S: Final = 10.0
"""How long who comes before we are ready may wait."""
BODY_S: Final = 10.0
WRITE_S: Final = 10.0
_AWAY: Final = 1024


class Gossip:
    """One node's. `servers()` are peers that could be neighbours."""

    def __init__(self, link: Link, peer_id: bytes, places: Places, servers: Callable[[], Sequence[ID]]) -> None:
        self._link = link
        self._id = ID(peer_id)
        self._places = places
        self._servers = servers
        self._gate = Gate()
        self._pubsub: Pubsub | None = None
        self._ready = trio.Event()
        self._links: dict[ID, _Link] = {}
        self._opening: set[ID] = set()
        self._away: OrderedDict[ID, tuple[float, float]] = OrderedDict()
        """Until when a peer is left alone, and for how long it was."""

    async def run(self) -> None:
        """For as long as the process runs; what peers provoke in the library begins it anew."""
        while True:
            try:
                await self._once()
            except Exception as error:  # noqa: BLE001 - told to the node
                await self._link.say(Trouble(f"gossip: {error!r}"[:500]))
            finally:
                self._pubsub, self._ready = None, trio.Event()
                for peer_id in list(self._links):
                    self._drop(peer_id)
            await trio.sleep(LOOK_S)

    async def _once(self) -> None:
        router = GossipSub(
            protocols=[TProtocol(GOSSIP)],
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_initial_delay=0.5,
            heartbeat_interval=HEARTBEAT_S,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
        )
        pubsub = Pubsub(
            cast(IHost, self),
            router,
            strict_signing=False,
            validation_cache_ttl=0,
            validation_cache_size=1,
            max_subscriptions_per_rpc=1,
            max_subscriptions_per_peer=1,
            max_inbound_rpc_size=MAX_FRAME,
            allowed_topics={TOPIC},
        )
        try:
            async with background_trio_service(router), background_trio_service(pubsub):
                await pubsub.wait_until_ready()
                pubsub.set_topic_validator(TOPIC, self._judge, True)
                heard = await pubsub.subscribe(TOPIC)
                self._pubsub = pubsub
                self._ready.set()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_drain, heard)
                    while True:
                        await self._look_round(pubsub)
                        _tidy(router)
                        await trio.sleep((LOOK_S if self._links else ALONE_S) * random.uniform(0.8, 1.2))
        finally:
            await trio.to_thread.run_sync(pubsub.seen_messages.stop)

    # --- what the node says ----------------------------------------------------------------------

    async def publish(self, data: bytes) -> int:
        """Sends a message of the topic out; how many neighbours there are to hear it. ValueError for what is none."""
        try:
            self._gate.note(open_message(data, time.time()))
        except DigestError as error:
            raise ValueError(str(error)) from error
        pubsub = self._pubsub
        neighbours = 0 if pubsub is None else len(pubsub.peer_topics.get(TOPIC, ()))
        if pubsub is not None and neighbours:
            await pubsub.push_msg(self._id, message_of(data))
        return neighbours

    # --- neighbours ------------------------------------------------------------------------------

    async def serve(self, opened: Opened, stream: trio.SocketStream) -> None:
        """Hears one neighbour until its stream ends, it floods, or another stream of its takes the place."""
        peer_id = ID(opened.peer_id)
        with trio.move_on_after(READY_S):
            await self._ready.wait()
        pubsub = self._pubsub
        link = self._links.get(peer_id)
        network = network_of(opened.prefix)
        full = link is None and (len(self._links) >= MOST or self._of_network(network) >= MOST_OF_NETWORK)
        if pubsub is None or full or self._gate.banned(opened.peer_id, trio.current_time()):
            stream.socket.close()
            return
        if link is not None and link.inward is not None:
            # It began anew, so what we say to the stream before may go nowhere, too.
            self._drop(peer_id)
            link = None
        if link is None:
            link = self._links[peer_id] = _Link()
        link.network = network
        link.inward = _Inward(stream, peer_id, self._may_handle)
        try:
            async with trio.open_nursery() as nursery:
                link.scope = nursery.cancel_scope
                nursery.start_soon(pubsub.ensure_peer_stream, peer_id)
                await pubsub.continuously_read_stream(cast(INetStream, link.inward))
                nursery.cancel_scope.cancel()
        finally:
            stream.socket.close()
            if self._links.get(peer_id) is link:
                self._drop(peer_id)

    def _of_network(self, network: bytes) -> int:
        return sum(link.network == network for link in self._links.values()) if network else 0

    def _may_handle(self, peer_id: ID, size: int) -> bool:
        return self._gate.frame(peer_id.to_bytes(), size, trio.current_time())

    async def _look_round(self, pubsub: Pubsub) -> None:
        now = trio.current_time()
        wanted = WANTED - len(self._links)
        if wanted <= 0:
            return
        known = [
            one
            for one in self._servers()
            if one not in self._links
            and self._away.get(one, (0.0, 0.0))[0] <= now
            and not self._gate.banned(one.to_bytes(), now)
        ]
        async with trio.open_nursery() as nursery:
            for peer_id in random.sample(known, min(wanted, len(known))):
                nursery.start_soon(pubsub.ensure_peer_stream, peer_id)

    def _drop(self, peer_id: ID) -> None:
        # Both ways: what a neighbour subscribes to it says only at the beginning.
        link = self._links.pop(peer_id, None)
        if link is not None:
            link.end()
        if self._pubsub is not None:
            self._pubsub._handle_dead_peer(peer_id)

    def _stays_away(self, peer_id: ID) -> None:
        shortest, longest = AWAY_S
        wait = min(longest, max(shortest, 2 * self._away.pop(peer_id, (0.0, 0.0))[1]))
        self._away[peer_id] = (trio.current_time() + wait, wait)
        if len(self._away) > _AWAY:
            self._away.popitem(last=False)

    # --- messages --------------------------------------------------------------------------------

    async def _judge(self, forwarder: ID, message: Message) -> bool:
        if forwarder == self._id:
            return True
        data = bytes(message.data)
        link = self._links.get(forwarder)
        network = b"" if link is None else link.network
        verdict, taken = self._gate.message(forwarder.to_bytes(), data, trio.current_time(), time.time(), network)
        if self._gate.banned(forwarder.to_bytes(), trio.current_time()):
            self._drop(forwarder)
        if verdict is not Verdict.TAKE or taken is None:
            return False
        await self._link.say(Heard(data, forwarder.to_bytes()))
        return True

    # --- as py-libp2p asks -----------------------------------------------------------------------

    def get_id(self) -> ID:
        """The node's identity."""
        return self._id

    def get_addrs(self) -> list[Multiaddr]:
        """None: no record of them is sent."""
        return []

    def get_peerstore(self) -> Places:
        """Addresses."""
        return self._places

    def get_network(self) -> Gossip:
        """Who is connected tells `serve` and `_look_round`."""
        return self

    def register_notifee(self, notifee: Any) -> None:
        """Nobody is to be notified."""

    def get_connections(self, peer_id: ID) -> list[Any]:
        """None, so that a stream that ended is not opened again behind our back."""
        return []

    def set_stream_handler(self, protocol: str, handler: Any) -> None:
        """Streams come through `serve`."""

    async def new_stream(self, peer_id: ID, protocols: Sequence[str]) -> _Outward:
        """The stream on which we speak to a neighbour; NoStream when there is none to be had."""
        pubsub = self._pubsub
        if peer_id == self._id or pubsub is None or peer_id in self._opening:
            raise NoStream
        self._opening.add(peer_id)
        try:
            with trio.fail_after(OPEN_S):
                stream = await self._link.open(peer_id.to_bytes(), GOSSIP, self._places.of(peer_id))
        except (NoStream, trio.TooSlowError):
            self._stays_away(peer_id)
            raise NoStream from None
        finally:
            self._opening.discard(peer_id)
        link = self._links.setdefault(peer_id, _Link())
        link.outward = outward = _Outward(stream, peer_id)
        pubsub.manager.run_task(self._watch, peer_id, link, outward)
        return outward

    async def _watch(self, peer_id: ID, link: _Link, outward: _Outward) -> None:
        # A stream on which we alone speak tells nothing but its end.
        began = trio.current_time()
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await outward.stream.receive_some(1)
        outward.end()
        if self._links.get(peer_id) is link and link.outward is outward:
            if trio.current_time() - began < AWAY_S[1]:
                self._stays_away(peer_id)
            else:
                self._away.pop(peer_id, None)
            self._drop(peer_id)


class _Link:
    """What there is between us and one neighbour."""

    def __init__(self) -> None:
        self.inward: _Inward | None = None
        self.outward: _Outward | None = None
        self.scope: trio.CancelScope | None = None
        self.network = b""
        """Where it says what it says from; empty: it says nothing yet, or is in a network of our own."""

    def end(self) -> None:
        if self.outward is not None:
            self.outward.end()
        if self.scope is not None:
            self.scope.cancel()


class _Inward:
    """A neighbour's frames, each vetted, as a stream that py-libp2p reads."""

    metric_send_channel = None

    def __init__(self, stream: trio.SocketStream, peer_id: ID, may_handle: Callable[[ID, int], bool]) -> None:
        self.muxed_conn = SimpleNamespace(peer_id=peer_id)
        self._in = Buffered(stream)
        self._may_handle = may_handle
        self._left = b""

    async def read(self, n: int | None = None) -> bytes:
        """Bytes of vetted frames. StreamEOF at the end, for what is no frame, and when the neighbour floods."""
        while not self._left:
            try:
                read = await read_message(self._in, MAX_FRAME, BODY_S)
                if read is None or not self._may_handle(self.muxed_conn.peer_id, len(read)):
                    raise StreamEOF
                self._left = frame(plain) if (plain := vetted(read)) else b""
            except (ProtocolError, trio.ClosedResourceError) as error:
                raise StreamEOF from error
        data = self._left if n is None else self._left[:n]
        self._left = self._left[len(data) :]
        return data

    async def reset(self) -> None:
        """Ends it."""
        self._in.stream.socket.close()

    close = reset


class _Outward:
    """The stream on which we speak."""

    metric_send_channel = None

    def __init__(self, stream: trio.SocketStream, peer_id: ID) -> None:
        self.muxed_conn = SimpleNamespace(peer_id=peer_id)
        self.stream = stream
        self._one = trio.Lock()

    def get_protocol(self) -> TProtocol:
        """Whatever the peer speaks, it was asked for this."""
        return TProtocol(GOSSIP)

    async def write(self, data: bytes) -> None:
        """One whole frame. StreamClosed when the neighbour is gone, or takes nothing for long."""
        head = next(at for at, byte in enumerate(data) if byte < 0x80) + 1
        plain = without_record(data[head:])
        if len(plain) > MAX_FRAME:
            return
        try:
            # Several tasks of the library write, each whenever it likes.
            with trio.fail_after(WRITE_S):
                async with self._one:
                    await self.stream.send_all(frame(plain))
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            self.end()
            raise StreamClosed from error

    def end(self) -> None:
        self.stream.socket.close()

    async def reset(self) -> None:
        """Ends it."""
        self.end()

    close = reset


def network_of(prefix: bytes) -> bytes:
    """What counts as one network of an address's /24 or /48; empty for private ones, whose neighbours are one's own."""
    if len(prefix) not in (3, 6):
        return b""
    address = ipaddress.ip_address(prefix + bytes(1 if len(prefix) == 3 else 10))
    return prefix if address.is_global else b""


async def _drain(heard: Any) -> None:
    # What is heard went to the node from the validator.
    while True:
        await heard.get()


def _tidy(router: GossipSub) -> None:
    now = int(time.time())
    router.recent_message_deliveries.clear()
    for topic in list(router.back_off):
        router.back_off[topic] = {peer: until for peer, until in router.back_off[topic].items() if until > now}
