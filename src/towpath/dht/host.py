"""What py-libp2p's kad-dht gets to see of a host: addresses of peers, and streams that the node opens for it."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from towpath.dht.link import Link, NoStream
from towpath.dht.streams import MAX_ADDRESSES, Exchange

__all__ = ["Host", "Places"]

_PLACES: Final = 2048
_MAX_ADDRESS: Final = 160
OPEN_S: Final = 4.0
"""For the connection and the stream: a peer further away than that is no use in a look-up."""
ANSWER_S: Final = 3.0
FAILED_S: Final = 15.0
"""After a failure a peer is not tried again for so long."""


class Places:
    """Where peers are, by their own or others' account; those not heard of for longest are forgotten.

    Stands for py-libp2p's peer store.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[ID, tuple[bytes, ...]] = OrderedDict()

    def learn(self, peer_id: ID, addresses: Iterable[bytes]) -> None:
        """Addresses take the place of those known before; none of them leaves these."""
        kept = tuple(dict.fromkeys(a for a in addresses if 0 < len(a) <= _MAX_ADDRESS))[:MAX_ADDRESSES]
        if not kept:
            return
        self._known[peer_id] = kept
        self._known.move_to_end(peer_id)
        if len(self._known) > _PLACES:
            self._known.popitem(last=False)

    def of(self, peer_id: ID) -> list[bytes]:
        """Binary multiaddrs, perhaps none."""
        return list(self._known.get(peer_id, ()))

    # --- as py-libp2p asks -----------------------------------------------------------------------

    def addrs(self, peer_id: ID) -> list[Multiaddr]:
        """Those that py-libp2p can read."""
        return readable(self.of(peer_id))

    def add_addrs(self, peer_id: ID, addrs: Sequence[Multiaddr], ttl: float) -> None:
        """What others say never displaces what is known."""
        if peer_id not in self._known:
            self.learn(peer_id, (addr.to_bytes() for addr in addrs))

    def peer_ids(self) -> list[ID]:
        """Whose addresses are known."""
        return list(self._known)

    def get_peer_record(self, peer_id: ID) -> None:
        """Signed records are not used."""

    def get_local_record(self) -> _NoSeal:
        """What py-libp2p puts into its messages, and `streams.without_seals` takes out again."""
        return _NO_SEAL

    def get_protocols(self, peer_id: ID) -> list[str]:
        """Who serves, the host knows better."""
        return []


class _NoSeal:
    """Passes for our own signed peer record, up to date whatever our addresses are."""

    def marshal_envelope(self) -> bytes:
        return b""

    def _env_addrs_set(self) -> _NoSeal:
        return self

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


_NO_SEAL: Final = _NoSeal()


def readable(addresses: Iterable[bytes]) -> list[Multiaddr]:
    """Those of the multiaddrs that py-libp2p can read."""
    found = []
    for address in addresses:
        try:
            found.append(Multiaddr(address))
        except Exception:  # noqa: BLE001, S112 - it raises whatever its codecs raise
            continue
    return found


class Host:
    """One DHT network's view: its own protocol id, whatever py-libp2p thinks that it is."""

    def __init__(self, link: Link, peer_id: bytes, places: Places, protocol: str) -> None:
        self._link = link
        self._id = ID(peer_id)
        self._places = places
        self.protocol: Final = protocol
        self._mine: list[Multiaddr] = []
        self._failed: OrderedDict[ID, float] = OrderedDict()
        self._answered: OrderedDict[ID, float] = OrderedDict()
        self.answered: Callable[[ID], object] = _nothing
        """Called with each peer that answered, so it serves."""
        self.failed: Callable[[ID], object] = _nothing
        """Called with each that could not be reached, does not serve, or did not answer."""

    def is_at(self, addresses: Iterable[bytes]) -> None:
        """Where the node is from now on: binary multiaddrs."""
        self._mine = readable(addresses)

    def answered_at(self, peer_id: ID) -> float:
        """When it last answered, in trio time; -inf: not that we remember."""
        return self._answered.get(peer_id, float("-inf"))

    def failed_lately(self, peer_id: ID) -> bool:
        """Did it not answer, or was there no stream to be had to it, a moment ago?"""
        return trio.current_time() - self._failed.get(peer_id, float("-inf")) < FAILED_S

    def forgive(self, peer_id: ID) -> None:
        """It may be tried again at once: it is here, or somebody insists."""
        self._failed.pop(peer_id, None)

    # --- as py-libp2p asks -----------------------------------------------------------------------

    def get_id(self) -> ID:
        """The node's identity."""
        return self._id

    def get_addrs(self) -> list[Multiaddr]:
        """Where the node is."""
        return list(self._mine)

    def get_peerstore(self) -> Places:
        """Addresses."""
        return self._places

    def get_connected_peers(self) -> list[ID]:
        """The node's connections are its own affair."""
        return []

    def set_stream_handler(self, protocol: str, handler: Any) -> None:
        """Streams come through `serving`."""

    async def new_stream(self, peer_id: ID, protocols: Sequence[str]) -> Exchange:
        """For one question and its answer. NoStream when there is none to be had, or was none a moment ago."""
        if peer_id == self._id or self.failed_lately(peer_id):
            raise NoStream
        try:
            with trio.fail_after(OPEN_S):
                stream = await self._link.open(peer_id.to_bytes(), self.protocol, self._places.of(peer_id))
        except (NoStream, trio.TooSlowError):
            self._told(peer_id, False)
            raise
        return Exchange(stream, peer_id, trio.current_time() + ANSWER_S, functools.partial(self._told, peer_id))

    def _told(self, peer_id: ID, answered: bool) -> None:
        if answered:
            _note(self._answered, peer_id)
            self._failed.pop(peer_id, None)
            self.answered(peer_id)
        else:
            _note(self._failed, peer_id)
            self.failed(peer_id)


def _note(times: OrderedDict[ID, float], peer_id: ID) -> None:
    times[peer_id] = trio.current_time()
    times.move_to_end(peer_id)
    if len(times) > _PLACES:
        times.popitem(last=False)


def _nothing(peer_id: ID) -> None:
    pass
