"""A libp2p peer: an identity, its connections, and what may be said over them in one sentence."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from tests.peerlab import circuit
from tests.peerlab.circuit import HOP, STOP, Answer, HopType, Refused, Reservation, Status, StopType
from tests.peerlab.identify import IDENTIFY, PUSH, Identify
from tests.peerlab.keys import Identity
from tests.peerlab.patience import Changes
from tests.peerlab.protobuf import prefixed
from tests.peerlab.session import Session, Stream, StreamLost, StreamReset
from tests.peerlab.upgrade import (
    MULTISTREAM,
    NOT_AVAILABLE,
    Manner,
    Secure,
    UpgradeError,
    expect_line,
    initiate,
    line,
    proposal,
    read_line,
    respond,
)
from tests.peerlab.wire import Wire

PING = "/ipfs/ping/1.0.0"

Handler = Callable[["Link", Stream], Awaitable[None]]


class NotSupported(Exception):
    """The other side does not speak the protocol."""


class Dialable(Protocol):
    """Whoever listens: a relay process, or a peer of ours."""

    @property
    def address(self) -> tuple[str, int]: ...
    @property
    def peer_id(self) -> bytes: ...


@dataclass
class Stop:
    """A STOP CONNECT that a relay has sent and that waits for its answer."""

    stream: Stream
    request: Answer

    @property
    def source(self) -> bytes | None:
        """Who, according to the relay, is at the other end."""
        return self.request.peer

    async def accept(self, early: bytes = b"") -> Stream:
        """Answers OK, together with the first bytes of the stream if any are given."""
        self.stream.begin()
        await self.stream.write(circuit.stop_status(Status.OK) + early)
        return self.stream

    async def refuse(self, status: int = Status.CONNECTION_FAILED) -> None:
        await self.stream.write(circuit.stop_status(status), fin=True)


class Link(Session):
    """One connection of a peer. What the other side opens is negotiated and served by the peer's handlers."""

    def __init__(self, secure: Secure, peer: "Peer", *, initiator: bool) -> None:
        super().__init__(secure, initiator=initiator)
        self.peer = peer
        self.stops: list[Stop] = []
        if peer.serves:
            self._tasks.append(asyncio.create_task(self._serve()))

    # Asking ----------------------------------------------------------------------------------------------------------

    async def open(self, protocol: str, early: bytes = b"") -> Stream:
        """A stream for this protocol; `early` goes out in the same write as its proposal."""
        stream = await self.open_stream()
        stream.protocol = protocol
        await stream.write(proposal(protocol) + early)
        await expect_line(stream, MULTISTREAM)
        if (answer := await read_line(stream)) == NOT_AVAILABLE:
            raise NotSupported(protocol)
        assert answer == protocol, f"proposed {protocol}, got {answer!r}"
        return stream

    async def ask_hop(self, message: bytes, early: bytes = b"") -> tuple[Stream, Answer]:
        """Sends a HOP message (with its length), good or bad, and anything behind it."""
        stream = await self.open(HOP, message + early)
        answer = circuit.hop_answer(await stream.read_message())
        assert answer.type == HopType.STATUS, f"answered with type {answer.type}"
        return stream, answer

    async def status_of(self, message: bytes) -> int | None:
        """The status with which a HOP message is answered."""
        _, answer = await self.ask_hop(message)
        return answer.status

    async def reserve(self) -> Reservation:
        """Reserves, or raises Refused."""
        stream, answer = await self.ask_hop(circuit.reserve_message())
        if answer.status != Status.OK:
            raise Refused(answer.status)
        assert answer.reservation, "OK without a reservation"
        await stream.finish()
        return answer.reservation

    async def connect(self, target: bytes, early: bytes = b"") -> Stream:
        """A circuit to a peer, or Refused. `early` goes out together with the request."""
        stream, answer = await self.ask_hop(circuit.connect_message(target), early)
        if answer.status != Status.OK:
            raise Refused(answer.status)
        stream.begin()
        return stream

    async def next_stop(self, patience: float | None = None) -> Stop:
        """The next circuit the relay offers, not yet answered."""
        await self.changes.until(lambda: bool(self.stops) or self.ended is not None, "a STOP", patience)
        if not self.stops:
            raise StreamLost(f"the connection was {self.ended}")
        return self.stops.pop(0)

    async def accept(self, early: bytes = b"") -> Stream:
        """Accepts the next circuit the relay offers."""
        return await (await self.next_stop()).accept(early)

    async def identify(self) -> Identify:
        """Asks who the other side is."""
        return Identify.decode(await (await self.open(IDENTIFY)).read_message())

    # Answering -------------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await self.changes.until(lambda: bool(self.inbound) or self.ended is not None, "a stream", 1e9)
                if not self.inbound:
                    return
                group.create_task(self._answer(self.inbound.popleft()))

    async def _answer(self, stream: Stream) -> None:
        with contextlib.suppress(StreamReset, StreamLost, EOFError):
            await expect_line(stream, MULTISTREAM)
            await stream.write(line(MULTISTREAM))
            if (protocol := await _first_line(stream)) not in self.peer.handlers:
                await stream.write(line(NOT_AVAILABLE))
                try:
                    while (protocol := await _first_line(stream)) not in self.peer.handlers:
                        await stream.write(line(NOT_AVAILABLE))
                except UpgradeError:
                    # Its first message, sent in the hope that we would agree.
                    await stream.reset()
                    return
            stream.protocol = protocol
            await stream.write(line(protocol))
            try:
                await self.peer.handlers[protocol](self, stream)
            except (AssertionError, UpgradeError, ValueError) as failure:
                self.violations.append(f"{protocol}: {failure}")


async def _first_line(stream: Stream) -> str:
    """A proposal; they come as late as the other side likes."""
    await stream.changes.until(lambda: bool(stream.inbox) or stream.fin or stream.was_reset, "a proposal", 1e9)
    return await read_line(stream)


async def answer_stop(link: Link, stream: Stream) -> None:
    """Queues a STOP CONNECT for the test to answer."""
    request = circuit.stop_request(await stream.read_message())
    assert request.type == StopType.CONNECT, f"STOP of type {request.type}"
    link.stops.append(Stop(stream, request))
    link.changes.tell()


async def answer_identify(link: Link, stream: Stream) -> None:
    own = Identify(link.peer.identity.public_pb, [], sorted(link.peer.handlers), link.wire.observed)
    await stream.write(prefixed(own.encode()), fin=True)


async def echo(link: Link, stream: Stream) -> None:
    """Says everything again, which is what a ping asks for."""
    while part := await stream.read_some():
        await stream.write(part)
    await stream.finish()


async def take_push(link: Link, stream: Stream) -> None:
    await stream.read_message()


async def say_nothing(link: Link, stream: Stream) -> None:
    """Agrees on the protocol and leaves it at that."""


@dataclass
class Peer:
    """A peer. Leaving its context closes its connections and complains of rules that the other sides broke."""

    identity: Identity = field(default_factory=Identity.ed25519)
    manner: Manner = field(default_factory=Manner)
    source: str | None = None
    """local address to dial from"""
    record: bool = False
    """keep every byte heard, on the wire and behind Noise"""
    receive_buffer: int = 0
    """of sockets, in bytes; 0: the kernel's choice"""
    piece: int = 0
    """largest number of bytes sent at once when dialing; 0: no bound"""
    serves: bool = True
    """inbound streams are negotiated and handled; otherwise the test takes them raw, by `next_stream`"""
    handlers: dict[str, Handler] = field(
        default_factory=lambda: {
            STOP: answer_stop,
            IDENTIFY: answer_identify,
            PUSH: take_push,
            PING: echo,
        }
    )

    def __post_init__(self) -> None:
        self.links: list[Link] = []
        self._listener: socket.socket | None = None
        self._accepting: set[asyncio.Task[None]] = set()
        self._changes = Changes()
        self._arrived: list[Link] = []

    @property
    def peer_id(self) -> bytes:
        return self.identity.peer_id

    @property
    def address(self) -> tuple[str, int]:
        assert self._listener, "this peer does not listen"
        host, port = self._listener.getsockname()[:2]
        return host, port

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        if self._listener:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
        for link in self.links:
            await link.leave()
        violations = [violation for link in self.links for violation in link.violations]
        if violations and error is None:
            raise AssertionError("the other side broke the rules: " + "; ".join(violations[:10]))

    async def dial(self, other: Dialable) -> Link:
        """Connects and upgrades; the other side must prove to be who it is said to be."""
        wire = await Wire.dial(
            other.address, source=self.source, record=self.record, receive_buffer=self.receive_buffer
        )
        wire.piece = self.piece
        try:
            link = self.adopt(await initiate(wire, self.identity, self.manner), initiator=True)
        except BaseException:
            wire.close()
            raise
        assert link.their_id == other.peer_id, "someone else answered"
        return link

    def adopt(self, secure: Secure, *, initiator: bool) -> Link:
        """Makes a connection that was upgraded elsewhere, such as over a circuit, one of this peer's."""
        link = Link(secure, self, initiator=initiator)
        if self.record:
            link.heard = bytearray()
        self.links.append(link)
        return link

    async def listen(self, host: str = "127.0.0.1") -> None:
        """Accepts connections from now on; `next_link` gives them out."""
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listener.setblocking(False)
        self._start(self._accept_on(self._listener))

    async def next_link(self) -> Link:
        await self._changes.until(lambda: bool(self._arrived), "a connection")
        return self._arrived.pop(0)

    async def _accept_on(self, listener: socket.socket) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            self._start(self._welcome(Wire(sock, record=self.record)))

    async def _welcome(self, wire: Wire) -> None:
        try:
            link = self.adopt(await respond(wire, self.identity, self.manner), initiator=False)
        except BaseException:
            wire.close()
            raise
        self._arrived.append(link)
        self._changes.tell()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._accepting.add(asyncio.create_task(work))


async def circuit_between(dialer: Link, target: Link) -> tuple[Stream, Stream]:
    """A circuit from one connection to the other through the relay both have; the target must hold a reservation."""
    asking = asyncio.create_task(dialer.connect(target.peer.peer_id))
    try:
        accepted = await target.accept()
    except BaseException:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        raise
    return await asking, accepted
