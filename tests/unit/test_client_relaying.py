"""A client beside relays that answer anything, and its answers to what relays ask it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from tests.peerlab import Peer
from tests.unit.nodes import ECHO, address, client, echo, relay, until
from towpath import Node, Stream
from towpath._native.appstream import AppStream, open_stream
from towpath._native.endpoint import Endpoint
from towpath._native.messages import read_stop
from towpath._native.reactor import Reactor
from towpath.addresses import peer_id_to_text
from towpath.client import stopping
from towpath.client.relaying import HOP, STOP, read_message
from towpath.errors import (
    ConnectionFailed,
    DialError,
    HandshakeError,
    MalformedMessage,
    PeerIdMismatch,
    PermissionDenied,
    ProtocolNotSupported,
    RelayError,
    StreamReset,
    TimeoutExpired,
    UnexpectedMessage,
)
from towpath.identity import Identity

NOBODY = Identity(bytes(32)).text


def framed(body: bytes) -> bytes:
    """A message with its length."""
    return bytes((len(body),)) + body


def status(code: int) -> bytes:
    """HOP STATUS with this code (the type is field 1, the status field 5)."""
    return framed(b"\x08\x02\x28" + (bytes((code & 127 | 128, code >> 7)) if code > 127 else bytes((code,))))


GRANTED = framed(b"\x08\x02\x1a\x06\x08\x80\xfe\xb1\xf4\x0f\x28\x64")
"""HOP STATUS OK with a reservation (field 3) of some decades."""
CONNECT = framed(b"\x08\x00\x12\x28\x0a\x26" + Identity(bytes(32)).peer_id)
"""STOP CONNECT (type 0) that says that NOBODY comes (field 2)."""


class Relay:
    """Answers every HOP stream with `answer`, whatever was asked, as soon as something was."""

    def __init__(self, endpoint: Endpoint, port: int) -> None:
        self.endpoint = endpoint
        self.address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id_to_text(endpoint.peer_id)}"
        self.answer: Callable[[AppStream], Coroutine[Any, Any, None]] = self.nothing
        self._tasks: set[asyncio.Task[None]] = set()
        endpoint.set_handler(HOP, self._accept)

    async def nothing(self, stream: AppStream) -> None:
        """Leaves it unanswered."""

    def says(self, data: bytes, *, end: str = "open") -> None:
        """What to answer, and whether the stream is then left `open`, `closed` or `reset`."""

        async def answer(stream: AppStream) -> None:
            await read_message(stream)
            stream.write(data)
            if end == "closed":
                stream.close_write()
            if end == "reset":
                stream.reset()

        self.answer = answer

    def _accept(self, stream: AppStream) -> None:
        task = asyncio.create_task(self.answer(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@pytest.fixture
async def odd() -> AsyncIterator[Relay]:
    reactor = Reactor(asyncio.get_running_loop())
    endpoint = Endpoint(reactor, b"\x05" * 32)
    yield Relay(endpoint, endpoint.listen("127.0.0.1", 0))
    endpoint.close()
    await asyncio.sleep(0)
    endpoint.abort()
    reactor.close()


@pytest.fixture
async def me() -> AsyncIterator[Node]:
    async with client() as node:
        node.set_stream_handler(ECHO, echo)
        yield node


# --- what a relay answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "end", "kind"),
    [
        (b"", "closed", StreamReset),
        (b"", "reset", StreamReset),
        (b"\x05\x08", "closed", StreamReset),
        (b"\x04\xff\xff\xff\xff", "open", HandshakeError),
        (b"\x00", "open", HandshakeError),
        (b"\xff\xff\x7f", "open", HandshakeError),
        (b"\xff" * 12, "open", HandshakeError),
        (b"\x02\x08\x00", "open", HandshakeError),
        (b"\x02\x08\x02", "open", HandshakeError),
        (status(100), "open", HandshakeError),
        (status(400), "open", MalformedMessage),
        (status(401), "closed", UnexpectedMessage),
        (status(299), "open", RelayError),
    ],
    ids=[
        "end",
        "reset",
        "half",
        "garbage",
        "empty",
        "long",
        "endless",
        "no status",
        "no code",
        "no reservation",
        "malformed",
        "unexpected",
        "unknown",
    ],
)
async def test_a_relay_that_grants_nothing_sensible_is_an_error_and_leaves_nothing(
    odd: Relay, me: Node, answer: bytes, end: str, kind: type[Exception]
) -> None:
    odd.says(answer, end=end)
    with pytest.raises(kind):
        await me.reserve(odd.address)
    assert me.reservations() == []
    await until(lambda: odd.endpoint.connections == 0)


async def test_an_unknown_status_is_told_with_its_number(odd: Relay, me: Node) -> None:
    odd.says(status(299))
    with pytest.raises(RelayError, match="299") as caught:
        await me.reserve(odd.address)
    assert (caught.value.status, type(caught.value)) == (299, RelayError)


@pytest.mark.parametrize(("code", "kind"), [(202, PermissionDenied), (203, ConnectionFailed)])
async def test_a_refused_circuit_is_told(odd: Relay, me: Node, code: int, kind: type[RelayError]) -> None:
    odd.says(status(code))
    with pytest.raises(kind):
        await me.connect_to_peer_via_relay(NOBODY, ECHO, via=odd.address)
    assert [row["via"] for row in me.peers()] == [None]


@pytest.mark.parametrize(
    ("behind", "end", "text"),
    [
        (b"", "closed", "closed"),
        (b"", "reset", "reset|closed"),
        (b"\x13/multistream/1.0.0\n\x03na\n", "open", "does not speak /noise"),
        (b"nonsense" * 40, "open", "not multistream-select"),
    ],
    ids=["end", "reset", "no noise", "nonsense"],
)
async def test_a_circuit_in_which_nobody_proves_himself_is_told_and_given_back(
    odd: Relay, me: Node, behind: bytes, end: str, text: str
) -> None:
    odd.says(status(100) + behind, end=end)
    with pytest.raises((HandshakeError, StreamReset), match=text):
        await me.connect_to_peer_via_relay(NOBODY, ECHO, via=odd.address)
    await until(lambda: me.data_plane()["connections"] == 1)
    await until(lambda: me.peers()[0]["streams"] == 0)


async def test_a_relay_that_leads_elsewhere_is_found_out(odd: Relay, me: Node) -> None:
    async def answer_itself(stream: AppStream) -> None:
        await read_message(stream)
        stream.write(status(100))
        await odd.endpoint.wrap(stream, False, None, b"elsewhere")

    odd.answer = answer_itself
    with pytest.raises(PeerIdMismatch, match="another identity"):
        await me.connect_to_peer_via_relay(NOBODY, ECHO, via=odd.address)
    await until(lambda: me.data_plane()["connections"] == 1)


async def test_an_unanswered_request_ends_in_time_and_leaves_no_stream(odd: Relay, me: Node) -> None:
    with pytest.raises(TimeoutExpired):
        await me.connect_to_peer_via_relay(NOBODY, ECHO, via=odd.address, timeout=0.1)
    await until(lambda: me.peers()[0]["streams"] == 0)


async def test_a_relay_that_vanishes_in_between_is_told(odd: Relay, me: Node) -> None:
    async def vanish(stream: AppStream) -> None:
        stream.session.abort()

    odd.answer = vanish
    with pytest.raises((StreamReset, DialError)):
        await me.connect_to_peer_via_relay(NOBODY, ECHO, via=odd.address)
    assert me.peers() == []


@pytest.mark.parametrize("end", ["reset", "finish"])
async def test_a_stream_cut_off_before_its_protocol_is_known_is_told(me: Node, end: str) -> None:
    async with Peer(serves=False) as rude:
        await rude.listen()
        at = f"/ip4/127.0.0.1/tcp/{rude.address[1]}/p2p/{peer_id_to_text(rude.peer_id)}"
        asking = asyncio.ensure_future(me.connect(at, ECHO))
        link = await rude.next_link()
        for _ in ("identify", "what was asked for"):
            stream = await link.next_stream()
            await stream.finish() if end == "finish" else await stream.reset()
        with pytest.raises(StreamReset, match="cut a stream off before it said whether it speaks /echo/1"):
            await asking


async def test_somebody_who_does_not_relay_is_told(odd: Relay, me: Node) -> None:
    odd.endpoint.set_handler(HOP, None)
    with pytest.raises(ProtocolNotSupported, match="hop"):
        await me.connect_to_peer_via_relay(NOBODY, ECHO, via=odd.address)


async def test_a_reservation_of_decades_is_believed_for_a_day(odd: Relay, me: Node) -> None:
    odd.says(GRANTED)
    held = await me.reserve(odd.address)
    assert 86300 < held.expires_at - time.time() <= 86400


# --- what a relay asks -------------------------------------------------------------------------------------------


async def asked(odd: Relay, me: Node, message: bytes, *, end: bool = False) -> AppStream:
    """A STOP stream to us on which this was said."""
    session = odd.endpoint.session_of(me._peer.peer_id)
    assert session is not None
    opened = open_stream(session, STOP)
    assert opened is not None
    stream, agreed = opened
    assert await agreed
    stream.write(message)
    if end:
        stream.close_write()
    return stream


@pytest.fixture
async def reserved(odd: Relay, me: Node) -> None:
    """We hold a reservation at the odd relay."""
    odd.says(GRANTED)
    await me.reserve(odd.address)


@pytest.mark.usefixtures("reserved")
@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (b"\x02\x08\x00", 400),
        (b"\x00", 400),
        (b"\x02\x20\x64", 400),
        (b"\x04\xff\xff\xff\xff", 400),
        (b"\x02\x08\x01", 401),
        (b"\xff\xff\x7f", 400),
    ],
    ids=["no peer", "empty", "no type", "garbage", "a status", "too long"],
)
async def test_what_a_relay_asks_wrongly_is_refused_by_its_status(
    odd: Relay, me: Node, message: bytes, answer: int
) -> None:
    stream = await asked(odd, me, message)
    assert read_stop(await read_message(stream)).status == answer


@pytest.mark.usefixtures("reserved")
async def test_a_circuit_that_nobody_comes_through_is_given_back(
    odd: Relay, me: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_TIMEOUT_S", 0.1)
    stream = await asked(odd, me, CONNECT)
    assert read_stop(await read_message(stream)).status == 100
    await stream.wait_readable()
    while stream.read(1000):
        await stream.wait_readable()
    assert stream.was_reset
    await until(lambda: me.data_plane()["connections"] == 1)


@pytest.mark.usefixtures("reserved")
@pytest.mark.parametrize("message", [b"", b"\x2e\x08"], ids=["nothing", "half"])
async def test_a_relay_that_asks_nothing_or_half_is_reset(
    odd: Relay, me: Node, message: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_TIMEOUT_S", 0.1)
    silent, ended = await asked(odd, me, message), await asked(odd, me, message, end=True)
    for stream in (silent, ended):
        await stream.wait_readable()
        assert stream.was_reset


async def test_a_relay_without_our_reservation_brings_nobody(odd: Relay, me: Node) -> None:
    await me.ping(odd.address)
    stream = await asked(odd, me, CONNECT)
    assert read_stop(await read_message(stream)).status == 202


@pytest.mark.usefixtures("reserved")
async def test_whoever_comes_is_who_he_proves_to_be_whatever_the_relay_says(odd: Relay, me: Node) -> None:
    came: asyncio.Queue[Stream] = asyncio.Queue()

    async def accept(stream: Stream) -> None:
        came.put_nowait(stream)

    me.set_stream_handler("/who/1", accept)
    stream = await asked(odd, me, CONNECT)
    assert read_stop(await read_message(stream)).status == 100
    inner = await odd.endpoint.wrap(stream, True, me._peer.peer_id, b"circuit")
    opened = open_stream(inner, "/who/1")
    assert opened is not None
    found = await came.get()
    assert found.peer_id == peer_id_to_text(odd.endpoint.peer_id) != NOBODY
    assert found.via == peer_id_to_text(odd.endpoint.peer_id)


async def test_a_real_relay_and_an_odd_one_do_not_meet(odd: Relay, me: Node) -> None:
    async with relay() as real:
        await me.reserve(address(real))
        odd.says(status(400))
        with pytest.raises(MalformedMessage):
            await me.reserve(odd.address)
        async with client() as alice:
            assert await alice.ping(me.circuit_addresses[0]) > 0
