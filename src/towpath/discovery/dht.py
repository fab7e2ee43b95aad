"""The node's handle on the DHT, which runs in a process of its own: asks it, dials for it, hands it its streams.

The process may die at any time. It is started again and told what it knew; what was published through it is published
again, questions under way are put again, and nothing else of the node notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from towpath import addresses
from towpath._native.appstream import open_stream
from towpath._native.bridge import Bridge, splice
from towpath.dht.messages import (
    GOSSIP,
    KAD,
    PUBLIC_KAD,
    Answer,
    Ask,
    Contact,
    Failed,
    FromChild,
    GiveUp,
    Heard,
    Mine,
    Open,
    Opened,
    Start,
    Table,
    Trouble,
)
from towpath.discovery.dht_process import DhtProcess
from towpath.errors import AddressError, DhtError, TowpathError
from towpath.internet import prefix_of

if TYPE_CHECKING:
    from towpath._native.appstream import AppStream
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session

__all__ = ["Dht", "DhtMissing"]

ASK_S: Final = 10.0
OPEN_S: Final = 5.0
"""For a connection and a stream that the process wants."""
STREAMS: Final = 256
"""From peers, at once; as many again may be asked for by the process."""
STREAMS_OF_PEER: Final = 16
IDLE_MS: Final = 60_000
GOSSIP_IDLE_MS: Final = 3_600_000
"""Neighbours in the gossip may have nothing to say for long."""
RESTARTS_S: Final = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0)
"""Before the process is started again, the more often it died lately."""
STEADY_S: Final = 60.0
"""A process that ran for so long is no reason to wait longer."""
PUBLISHED: Final = 4096
_MAX_LISTENS: Final = 8
_MAX_ADDRESS: Final = 160
_contacts = msgspec.msgpack.Decoder(list[Contact])


class DhtMissing(DhtError, OSError):
    """py-libp2p is not installed, so there is no DHT to be had."""


class Dht:
    """One endpoint's DHT.

    `dial` gives it a session with a peer that is said to be at some multiaddrs, and decides which of these may be
    dialed; any TowpathError or OSError of it means that there is none. `serve`: other peers' questions are answered.
    `public`: those of the public DHT, too. `heard(data, neighbour)` takes the gossip's messages; without it a node
    takes no part in that. `cache`: what `snapshot` gave in an earlier life. `told(kind, sentence)` hears what the owner
    should know.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        dial: Callable[[bytes, list[bytes]], Awaitable[Session]],
        serve: bool,
        public: bool = False,
        heard: Callable[[bytes, bytes], None] | None = None,
        cache: bytes | None = None,
        told: Callable[[str, str], None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._dial = dial
        self._serve = serve
        self._protocols = ([KAD, PUBLIC_KAD] if public else [KAD]) if serve else []
        self._public = public and serve
        self._heard = heard
        if heard is not None:
            self._protocols.append(GOSSIP)
        self._told = told or (lambda kind, sentence: None)
        self._known = _read_cache(cache)
        self._process: DhtProcess | None = None
        self._up = asyncio.Event()
        self._stopped = False
        self._next = 1
        self._questions: dict[int, asyncio.Future[Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._bridges: dict[Bridge, bytes] = {}
        """With the peer, of streams that peers opened; of those that the process wanted, b""."""
        self._published: OrderedDict[tuple[Literal["put", "provide"], bytes], bytes] = OrderedDict()
        self._deaths = 0
        self._mine: list[bytes] = []
        self.size = 0
        """Servers in the routing table of towpath's DHT."""
        self.restarts = 0

    # --- life ----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Is there a process to be asked?"""
        return self._process is not None

    async def start(self) -> None:
        """OSError when the process cannot be started, DhtMissing when it would have nothing to run.

        Later deaths are mended here.
        """
        if importlib.util.find_spec("libp2p") is None:
            raise DhtMissing("py-libp2p is not installed; pip install 'towpath[dht]', or set discovery.dht to false")
        await self._begin()
        for protocol in self._protocols:
            self._endpoint.set_handler(protocol, self._accept)

    async def stop(self) -> None:
        """Ends the process, its streams and whatever is being asked."""
        self._stopped = True
        for protocol in self._protocols:
            if not self._endpoint.closed:
                self._endpoint.set_handler(protocol, None)
        process = self._process
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if process is not None:
            process.end("the node stops")
            await process.gone()
        for bridge in list(self._bridges):
            bridge.close()
        if tasks:
            await asyncio.wait(tasks)

    def snapshot(self) -> bytes:
        """Servers to begin with, for the next start's `cache`."""
        return msgspec.msgpack.encode(self._known)

    async def _begin(self) -> None:
        process = DhtProcess(self._hear, lambda why: self._ended(process, why))
        await process.start()
        if self._stopped:
            process.end("the node stops")
            await process.gone()
            return
        self._mine = self._addresses()
        gossip = self._heard is not None
        process.say(Start(self._endpoint.peer_id, self._mine, self._serve, self._public, self._known, gossip))
        self._process = process
        self._begun = asyncio.get_running_loop().time()
        self._up.set()

    def _ended(self, process: DhtProcess, why: str) -> None:
        if self._process is not process:
            return
        self._process = None
        self._up.clear()
        for question in self._questions.values():
            if not question.done():
                question.set_exception(_Died())
        if not self._stopped:
            self._told("dht.ended", f"the DHT's process is started again: {why}")
            self._spawn(self._again())

    async def _again(self) -> None:
        if asyncio.get_running_loop().time() - self._begun > STEADY_S:
            self._deaths = 0
        while not self._stopped:
            await asyncio.sleep(RESTARTS_S[min(self._deaths, len(RESTARTS_S) - 1)])
            self._deaths += 1
            try:
                await self._begin()
            except OSError as error:
                self._told("dht.failed", f"the DHT's process cannot be started: {error}; it is tried again")
                continue
            self.restarts += 1
            await self._publish_again()
            return

    async def _publish_again(self) -> None:
        # What only this node had may be gone with the process.
        for (what, key), value in list(self._published.items()):
            with contextlib.suppress(DhtError):
                await self._ask(what, key, value)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- questions -----------------------------------------------------------------------------

    async def join(self, texts: Sequence[str]) -> int:
        """Looks round from bootstrap addresses, multiaddrs with /p2p/; how many of them answered.

        AddressError for one that names no peer.
        """
        contacts = []
        for text in texts[:128]:
            address = addresses.parse(text)
            if address.peer_id is None:
                raise AddressError(f"{text} names no peer; append /p2p/ and the peer's id")
            contacts.append(Contact(address.peer_id, [addresses.to_bytes(address.transport)]))
        known = {contact.peer_id for contact in self._known}
        self._known += [contact for contact in contacts if contact.peer_id not in known]
        del self._known[:-64]
        return (await self._ask("join", contacts=contacts)).count

    async def provide(self, key: bytes) -> int:
        """Says that this node provides a key (a multihash); how many servers were told."""
        count = (await self._ask("provide", key)).count
        self._remember("provide", key, b"")
        return count

    async def providers(self, key: bytes, most: int = 20) -> list[tuple[bytes, list[bytes]]]:
        """Who provides a key: peer ids, and where they said they are (binary multiaddrs)."""
        answer = await self._ask("providers", key, most=max(1, min(most, 128)))
        return [(one.peer_id, list(one.addresses)) for one in answer.contacts]

    async def put(self, key: str, value: bytes) -> int:
        """Publishes a record; how many servers took it. DhtError for one that is not valid under its key."""
        count = (await self._ask("put", key.encode(), value)).count
        self._remember("put", key.encode(), value)
        return count

    async def get(self, key: str) -> bytes | None:
        """The record that counts under a key."""
        return (await self._ask("get", key.encode())).value

    async def find_peer(self, peer_id: bytes) -> list[bytes]:
        """Where a peer is said to be: binary multiaddrs, perhaps none."""
        return [place for one in (await self._ask("find", peer_id)).contacts for place in one.addresses]

    async def gossip(self, message: bytes) -> int:
        """Tells a message to all who take part in the gossip; how many neighbours heard it. It is not repeated."""
        return (await self._ask("gossip", value=message)).count

    def _remember(self, what: Literal["put", "provide"], key: bytes, value: bytes) -> None:
        self._published[what, key] = value
        self._published.move_to_end((what, key))
        if len(self._published) > PUBLISHED:
            self._published.popitem(last=False)

    async def _ask(
        self,
        what: Literal["join", "provide", "providers", "put", "get", "find", "gossip"],
        key: bytes = b"",
        value: bytes = b"",
        *,
        most: int = 20,
        contacts: list[Contact] | None = None,
    ) -> Answer:
        if self._stopped:
            raise DhtError("the DHT was stopped")
        try:
            async with asyncio.timeout(ASK_S):
                while True:
                    try:
                        answer = await self._put_question(what, key, value, most, contacts or [])
                    except _Died:
                        continue
                    if answer.error:
                        raise DhtError(f"the DHT did not take it: {answer.error}")
                    return answer
        except TimeoutError:
            raise DhtError(f"the DHT did not answer within {ASK_S:.0f} s; try again") from None

    async def _put_question(
        self,
        what: Literal["join", "provide", "providers", "put", "get", "find", "gossip"],
        key: bytes,
        value: bytes,
        most: int,
        contacts: list[Contact],
    ) -> Answer:
        await self._up.wait()
        process = self._process
        if process is None:
            raise _Died
        number = self._next
        self._next += 1
        question: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._questions[number] = question
        try:
            mine = self._addresses()
            if mine != self._mine:
                self._mine = mine
                process.say(Mine(mine))
            process.say(Ask(number, what, key, value, most, contacts))
            return await question
        finally:
            del self._questions[number]
            if question.cancelled():
                process.say(GiveUp(number))

    def _addresses(self) -> list[bytes]:
        return [place for place in self._endpoint.addresses if len(place) <= _MAX_ADDRESS][:_MAX_LISTENS]

    # --- what the process says -----------------------------------------------------------------

    def _hear(self, message: FromChild) -> None:
        match message:
            case Answer(number):
                question = self._questions.get(number)
                if question is not None and not question.done():
                    question.set_result(message)
            case Open():
                self._spawn(self._open(message))
            case Table(size, contacts):
                self.size = size
                if contacts:
                    self._known = contacts
            case Heard(data, peer_id):
                if self._heard is not None:
                    self._heard(data, peer_id)
            case Trouble(sentence):
                self._told("dht.trouble", f"something in the DHT's process failed, and it goes on: {sentence}")

    async def _open(self, wanted: Open) -> None:
        process = self._process
        if process is None:
            return
        try:
            if len(self._bridges) >= 2 * STREAMS:
                raise DhtError("too many streams at once")
            async with asyncio.timeout(OPEN_S):
                session = self._endpoint.session_of(wanted.peer_id)
                if session is None or session.via:
                    session = await self._dial(wanted.peer_id, wanted.addresses)
            opened = open_stream(session, wanted.protocol)
            if opened is None:
                raise DhtError("the connection is closed")
        except (TowpathError, OSError, TimeoutError):
            process.say(Failed(wanted.number))
            return
        # The question follows the proposal at once: whether the peer speaks the protocol, its answer tells.
        stream = opened[0]
        if process is not self._process:
            stream.reset()
            return
        self._hand_over(process, stream, Opened(wanted.number, wanted.peer_id, wanted.protocol), b"")

    # --- what peers want -----------------------------------------------------------------------

    def _accept(self, stream: AppStream) -> None:
        session = stream.session
        process = self._process
        peer_id = session.peer_id
        if process is None or session.via or len(self._bridges) >= STREAMS or self._too_many(peer_id):
            stream.reset()
            return
        listens = [place for place in session.listens or () if len(place) <= _MAX_ADDRESS]
        message = Opened(0, peer_id, stream.protocol, _prefix(session.remote), listens)  # type: ignore[arg-type]
        self._hand_over(process, stream, message, peer_id)

    def _too_many(self, peer_id: bytes) -> bool:
        return sum(other == peer_id for other in self._bridges.values()) >= STREAMS_OF_PEER

    def _hand_over(self, process: DhtProcess, stream: AppStream, message: Opened, peer_id: bytes) -> None:
        try:
            here, there = socket.socketpair()
        except OSError:
            stream.reset()
            if message.number:
                process.say(Failed(message.number))
            return
        here.setblocking(False)
        idle_ms = GOSSIP_IDLE_MS if message.protocol == GOSSIP else IDLE_MS
        bridge = splice(stream, here.detach(), idle_ms)
        if not bridge.ended:
            self._bridges[bridge] = peer_id
            bridge.on_end = functools.partial(self._bridges.pop, bridge)
        process.say(message, there.detach())


class _Died(Exception):
    """The process ended before it answered."""


def _prefix(remote: bytes) -> bytes:
    try:
        return prefix_of(addresses.parse(addresses.to_text(remote)).host)
    except (AddressError, ValueError):
        return b""


def _read_cache(cache: bytes | None) -> list[Contact]:
    try:
        return _contacts.decode(cache)[:64] if cache else []
    except ValueError:
        return []
