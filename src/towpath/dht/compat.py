"""py-libp2p's kad-dht with its faults worked around. All work-arounds are here, in `host` and in `serving`.

Each names the fault; tests/unit/dht/test_dht_faults.py shows every one of them in the library as it is, and fails
once the library is mended: then the work-around goes.

- PROTOCOL: `protocol_prefix` changes no protocol id. → Host replaces it in every stream.
- IDLE: twelve idle streams use up the server. → serving hands it whole messages only.
- SEALS: every message is signed with the host's key (fields that only py-libp2p knows). → `streams.without_seals`.
- ECHO: ADD_PROVIDER is answered, which the next question on a stream then reads as its own. → serving drops it.
- HEARSAY: whoever is named in an answer enters the routing table, and so does every client that asks. → Table.
- SPLIT: every full bucket is split, up to 5,120 peers; a full one is pinged with its lock held. → Table.
- SQUAT: the first 20 providers of a key stay for 48 h. → Providers, over our own store.
- REPEATED: providers come back several times, found ones enter the own store, and the addresses of the closer peers
  that a server names are dropped. → Providers.find_providers.
- STALE: values are served, and believed of the own store, without looking at them again. → Values, Kad.get_value.
- ROOM: 50,000 values of 1 MiB, the search for the oldest takes all of them. → Values.
- AGAIN: a value put a second time is refused as if it were older. → Namespaces.
- ROUNDS: a look-up waits for the slowest of each round; a peer that does not answer costs 10 s. → Routing.
- LENGTH: FIND_NODE for a key over 50 bytes, which any value's is, ends the stream. → Kad asks GET_VALUE.
- ENDLESS: get_value asks on as long as somebody names new peers. → Kad.get_value.
- LOGS: bodies of messages are written to the log, by whoever sends them. → `hush`.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, cast

import trio
from google.protobuf.message import DecodeError
from libp2p.abc import IHost
from libp2p.exceptions import BaseLibp2pError
from libp2p.kad_dht.common import BUCKET_SIZE, PROTOCOL_ID, format_time_rfc3339
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.pb.kademlia_pb2 import Message, Record
from libp2p.kad_dht.peer_routing import PeerRouting
from libp2p.kad_dht.provider_store import ProviderStore as LibraryProviders
from libp2p.kad_dht.routing_table import KBucket, RoutingTable
from libp2p.kad_dht.value_store import ValueStore
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.records.ipns import IPNSValidator
from libp2p.records.pubkey import PublicKeyValidator
from libp2p.records.validator import NamespacedValidator, Validator
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from towpath.dht.host import Host, readable
from towpath.dht.link import NoStream
from towpath.dht.look_up import AT_ONCE, CLOSEST, SETTLE_S, Enough, LookUp, Question
from towpath.dht.streams import MAX_ANSWER, ProtocolError, frame
from towpath.discovery import records
from towpath.discovery.provider_store import ProviderStore

__all__ = ["ASKER", "Kad", "Namespaces", "Providers", "Values", "hush", "public_validators", "towpath_validators"]

ASKER: contextvars.ContextVar[bytes] = contextvars.ContextVar("asker", default=b"")
"""The address prefix of the peer whose message is being handled."""

PUBLISH_SETTLE_S: Final = 3.0
"""The same where as many as possible shall be told: nobody waits for it."""
ASKED: Final = 8
"""Servers that answer when something is looked for, of the 20 that are told."""
STALE_S: Final = 3600


def hush() -> None:
    """Silences py-libp2p (LOGS)."""
    for name in ("libp2p", "multiaddr"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)


# --- what may stand in a DHT --------------------------------------------------------------------


class Records(Validator):
    """towpath's records."""

    def validate(self, key: str, value: bytes) -> None:
        """RecordError unless it may stand under the key now."""
        records.check(key, value, time.time())

    def select(self, key: str, values: list[bytes]) -> int:
        """The one that counts."""
        return records.select(key, values)


class Namespaces(NamespacedValidator):
    """Of equal values the last counts (AGAIN): one that is put again is no older than itself."""

    def select(self, key: str, values: list[bytes]) -> int:
        """Its index."""
        best = values[super().select(key, values)]
        return len(values) - 1 - values[::-1].index(best)


def towpath_validators() -> Namespaces:
    """Of towpath's own DHT, which holds nothing but towpath's records."""
    return Namespaces({"relays": Records(), "towpath": Records()}, strict_validation=True)


def public_validators() -> Namespaces:
    """Of the public DHT."""
    return Namespaces({"pk": PublicKeyValidator(), "ipns": IPNSValidator()}, strict_validation=True)


# --- stores -------------------------------------------------------------------------------------


class _Kept(NamedTuple):
    value: bytes
    at: float
    prefix: bytes
    """Of the address that it came from."""
    distance: int
    """Of its key from us."""


class Values(ValueStore):
    """At most `MOST` values, those whose keys are nearest to us, and not too many from one address prefix (ROOM)."""

    MOST: Final = 8192
    MOST_BYTES: Final = 8 * 1024 * 1024
    MOST_OF_PREFIX: Final = 2048
    LIFE_S: Final = 48 * 3600

    def __init__(self, host: Host, validator: NamespacedValidator) -> None:
        super().__init__(cast(IHost, host), host.get_id())
        self._validator = validator
        self._here = _position(host.get_id().to_bytes())
        self._kept: dict[bytes, _Kept] = {}
        self._bytes = 0
        self._of_prefix: dict[bytes, int] = {}

    def put(self, key: bytes, value: bytes, validity: float = 0.0) -> None:
        """Keeps a value, unsigned: whose it is, it says itself (SEALS). Not if others are nearer and all is full."""
        self.remove(key)
        new = _Kept(value, time.time(), ASKER.get(), _position(key) ^ self._here)
        if self._of_prefix.get(new.prefix, 0) >= self.MOST_OF_PREFIX and not self._give_way(new, new.prefix):
            return
        while self._kept and (len(self._kept) >= self.MOST or self._bytes + len(value) > self.MOST_BYTES):
            if not self._give_way(new, None):
                return
        self._kept[key] = new
        self._bytes += len(value)
        self._of_prefix[new.prefix] = self._of_prefix.get(new.prefix, 0) + 1

    def put_record(self, key: bytes, record: Record) -> None:
        """Keeps what a record says."""
        self.put(key, record.value)

    def get(self, key: bytes) -> Record | None:
        """What is kept, if it is still valid (STALE)."""
        found = self._kept.get(key)
        if found is None:
            return None
        try:
            if time.time() - found.at > self.LIFE_S:
                raise ValueError("too old")
            self._validator.validate(key.decode(), found.value)
        except Exception:  # noqa: BLE001 - validators raise what they like
            self.remove(key)
            return None
        return Record(key=key, value=found.value, timeReceived=format_time_rfc3339())

    def remove(self, key: bytes) -> bool:
        """False when there was none."""
        found = self._kept.pop(key, None)
        if found is None:
            return False
        self._bytes -= len(found.value)
        self._of_prefix[found.prefix] -= 1
        if not self._of_prefix[found.prefix]:
            del self._of_prefix[found.prefix]
        return True

    def cleanup_expired(self) -> int:
        """Drops what is no longer valid."""
        before = len(self._kept)
        for key in list(self._kept):
            self.get(key)
        return before - len(self._kept)

    def size(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def _give_way(self, new: _Kept, prefix: bytes | None) -> bool:
        # Drops the farthest, of a prefix or of all, unless the new one is farther still.
        keys = (key for key, kept in self._kept.items() if prefix is None or kept.prefix == prefix)
        farthest = max(keys, key=lambda key: self._kept[key].distance)
        return self._kept[farthest].distance > new.distance and self.remove(farthest)


def _position(key: bytes) -> int:
    return int.from_bytes(hashlib.sha256(key).digest())


class Providers(LibraryProviders):
    """Over towpath's own store (SQUAT); asks once and for as long as it must (REPEATED)."""

    def __init__(self, host: Host, routing: Routing) -> None:
        super().__init__(cast(IHost, host), routing)
        self._store = ProviderStore()
        self._rng = random.SystemRandom()

    def add_provider(self, key: bytes, provider: PeerInfo) -> None:
        """One that said so itself."""
        addresses = [address.to_bytes() for address in provider.addrs]
        self._store.add(key, provider.peer_id.to_bytes(), addresses, ASKER.get(), time.monotonic())

    def get_providers(self, key: bytes) -> list[PeerInfo]:
        """A random 20 of them."""
        found = self._store.some(key, self._rng, time.monotonic())
        return [PeerInfo(ID(one.peer_id), readable(one.addresses)) for one in found]

    async def publish(self, key: bytes) -> int:
        """Tells the servers closest to the key, and says how many were told."""
        mine = self.host.get_addrs()
        if mine:
            self.add_provider(key, PeerInfo(self.local_peer_id, mine))
        told = 0

        async def tell(peer: ID) -> None:
            nonlocal told
            done = await self._send_add_provider(peer, key)
            told += done

        await _each(await self.peer_routing.find_closest_peers_network(key, settle_s=PUBLISH_SETTLE_S), tell)
        return told

    async def find_providers(self, key: bytes, count: int = 20) -> list[PeerInfo]:
        """Whom the servers closest to the key name, each once."""
        found: dict[ID, PeerInfo] = {one.peer_id: one for one in self.get_providers(key)}
        enough = Enough(count)
        enough.have(len(found))

        async def ask(peer: ID, key: bytes) -> list[ID]:
            named, closer = await self._ask(peer, key)
            for one in named:
                found.setdefault(one.peer_id, one)
            enough.have(len(found))
            return closer

        with enough.scope:
            await self.peer_routing.find_closest_peers_network(key, count=ASKED, ask=ask)
        return list(found.values())[:count]

    async def _ask(self, peer: ID, key: bytes) -> tuple[list[PeerInfo], list[ID]]:
        # Whom a server names as providers, and as closer to the key.
        try:
            stream = await self.host.new_stream(peer, [PROTOCOL_ID])
        except (NoStream, trio.TooSlowError):
            return [], []
        try:
            await stream.write(frame(Message(type=Message.MessageType.GET_PROVIDERS, key=key).SerializeToString()))
            answer = Message.FromString(await read_varint_prefixed_bytes_limited(stream, MAX_ANSWER))
        except (BaseLibp2pError, ProtocolError, DecodeError, trio.BrokenResourceError, trio.TooSlowError):
            return [], []
        finally:
            await stream.close()
        closer = []
        for one in answer.closerPeers:
            if one.id:
                closer.append(ID(one.id))
                self.host.get_peerstore().add_addrs(closer[-1], readable(one.addrs), 0)
        return [PeerInfo(ID(one.id), readable(one.addrs)) for one in answer.providerPeers if one.id], closer

    async def _republish_provider_records(self) -> None:
        """Who provides tells it again in time."""

    def cleanup_expired(self) -> None:
        """The store forgets by itself."""


# --- routing ------------------------------------------------------------------------------------


class Table(RoutingTable):
    """Holds peers that answered, or said that they serve, and nobody else (HEARSAY).

    Only the bucket around us is split; in a full one a peer stays while it was heard of in the last hour (SPLIT).
    """

    async def add_peer(self, peer_obj: PeerInfo | ID, *, skip_server_mode_check: bool = False) -> bool:
        """What py-libp2p calls for everybody it hears of: nothing."""
        return False

    def admit(self, peer_id: ID, addresses: Sequence[bytes]) -> bool:
        """One that serves. False when there is no room for it."""
        if peer_id == self.local_id or not addresses:
            return False
        info = PeerInfo(peer_id, readable(addresses))
        bucket: KBucket = self.find_bucket(peer_id)
        while (
            not bucket.has_peer(peer_id) and bucket.size() >= bucket.bucket_size and self._should_split_bucket(bucket)
        ):
            self._split_bucket(bucket)
            bucket = self.find_bucket(peer_id)
        now = time.time()
        if bucket.has_peer(peer_id):
            bucket.remove_peer(peer_id)
        else:
            subnet = _subnet_of(info)
            if subnet is not None and bucket._peers_in_subnet(subnet) >= bucket._subnet_limit():
                return False
            if bucket.size() >= bucket.bucket_size:
                oldest = bucket.get_oldest_peer()
                if oldest is None or now - bucket.peers[oldest][1] < STALE_S:
                    return False
                bucket.remove_peer(oldest)
        bucket.peers[peer_id] = (info, now)
        return True

    def _should_split_bucket(self, bucket: KBucket) -> bool:
        return bool(bucket.peer_id_in_range(self.local_id)) and bool(super()._should_split_bucket(bucket))


def _subnet_of(info: PeerInfo) -> str | None:
    from libp2p.kad_dht.routing_table import _subnet_key

    return _subnet_key(info)


class Routing(PeerRouting):
    """Look-ups that keep ten questions under way and wait for nobody in particular (ROUNDS)."""

    def __init__(self, host: Host, table: Table) -> None:
        super().__init__(cast(IHost, host), table)
        self._host = host

    async def find_closest_peers_network(
        self, target_key: bytes, count: int = BUCKET_SIZE, settle_s: float = SETTLE_S, ask: Question | None = None
    ) -> list[ID]:
        """The servers closest to a key that answered, the closest first.

        `ask` is what each is asked, FIND_NODE by default; it returns whom the server named.
        """
        look_up = LookUp(self._host, target_key, count, ask or self.find_node, settle_s)
        known = self.routing_table.find_local_closest_peers(target_key, count)
        if len(known) < CLOSEST:
            known = [*known, *self._host.get_peerstore().peer_ids()]
        return await look_up.run(known)

    async def find_node(self, peer: ID, key: bytes) -> list[ID]:
        """Whom a server names, as close to a key of 50 bytes at most."""
        return await self._query_peer_for_closest(peer, key)


async def _each(peers: Sequence[ID], ask: Callable[[ID], Awaitable[None]]) -> None:
    room = trio.CapacityLimiter(AT_ONCE)

    async def one(peer: ID) -> None:
        async with room:
            await ask(peer)

    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(one, peer)


# --- the DHT ------------------------------------------------------------------------------------


class Kad(KadDHT):
    """One network. It runs no service: serving hands it messages, and `child` calls the rest."""

    SAME: Final = 3
    """So many servers must have the value that counts, or SETTLE_S pass, before it is believed."""

    def __init__(self, host: Host, validator: NamespacedValidator) -> None:
        seen = cast(IHost, host)
        super().__init__(seen, DHTMode.SERVER, validator=validator, validator_changed=True, strict_validation=True)
        self._host = host
        self._checks = validator
        self.routing_table: Table = Table(host.get_id(), seen)
        self.peer_routing: Routing = Routing(host, self.routing_table)
        self.value_store: Values = Values(host, validator)
        self.provider_store: Providers = Providers(host, self.peer_routing)
        host.answered = self._answered
        host.failed = self.routing_table.remove_peer

    def _answered(self, peer_id: ID) -> None:
        self.routing_table.admit(peer_id, self._host.get_peerstore().of(peer_id))

    async def put(self, key: str, value: bytes) -> int:
        """Gives a value to the servers closest to its key; how many took it. The validator's error for a bad one."""
        self._checks.validate(key, value)
        raw = key.encode()
        kept = self.value_store.get(raw)
        if kept is None or self._checks.select(key, [kept.value, value]) == 1:
            self.value_store.put(raw, value)
        took = 0

        async def give(peer: ID) -> None:
            nonlocal took
            done = await self.value_store._store_at_peer(peer, raw, value, record=Record(key=raw, value=value))
            took += done

        closest = await self.peer_routing.find_closest_peers_network(
            raw, settle_s=PUBLISH_SETTLE_S, ask=lambda peer, key: self._get(peer, key, None)
        )
        await _each(closest, give)
        return took

    async def get_value(self, key: str, quorum: int = SAME) -> bytes | None:
        """The value that counts among those of the servers closest to the key, and our own (STALE, ENDLESS)."""
        raw = key.encode()
        own = self.value_store.get(raw)
        best: bytes | None = None if own is None else own.value
        same = int(best is not None)
        enough = Enough(quorum)

        def consider(value: bytes) -> None:
            nonlocal best, same
            try:
                self._checks.validate(key, value)
            except Exception:  # noqa: BLE001 - validators raise what they like
                return
            if value == best:
                same += 1
            elif best is None or self._checks.select(key, [best, value]) == 1:
                best, same = value, 1
            enough.have(same)

        with enough.scope:
            await self.peer_routing.find_closest_peers_network(
                raw, count=ASKED, ask=lambda peer, key: self._get(peer, key, consider)
            )
        return best

    async def _get(self, peer: ID, key: bytes, consider: Callable[[bytes], None] | None) -> list[ID]:
        # A value from one server, and whom it named. FIND_NODE would not take a key of this length (LENGTH).
        value: Any
        value, closer = cast(
            tuple[Any, list[ID]], await self.value_store._get_from_peer(peer, key, return_closer_peers=True)
        )
        if value is not None and consider is not None:
            consider(value)
        return closer
