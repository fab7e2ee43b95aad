"""Dialing an address: whoever answers there, or does not, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.unit.nodes import until
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath.addresses import Address, parse, peer_id_to_text
from towpath.client import dialing
from towpath.client.dialing import Dialer, deadline, resolve
from towpath.errors import AddressError, DialError, HandshakeError, PeerIdMismatch, TimeoutExpired

MULTISTREAM = b"\x13/multistream/1.0.0\n"
Server = Callable[[socket.socket], Awaitable[None]]


@contextlib.asynccontextmanager
async def endpoint(seed: bytes) -> AsyncIterator[Endpoint]:
    reactor = Reactor(asyncio.get_running_loop())
    made = Endpoint(reactor, seed)
    try:
        yield made
    finally:
        made.close()
        await asyncio.sleep(0)
        made.abort()
        reactor.close()


@pytest.fixture
async def me() -> AsyncIterator[Endpoint]:
    async with endpoint(bytes(32)) as made:
        yield made


@pytest.fixture
async def them() -> AsyncIterator[Endpoint]:
    async with endpoint(b"\x01" * 32) as made:
        yield made


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[int]:
    """A TCP server on loopback; its port. Each connection is the server's until that returns, then it is closed."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            await server(connection)

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listening)
            connection.setblocking(False)
            tasks.add(asyncio.create_task(serve(connection)))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        tasks.add(asyncio.create_task(accept()))
        try:
            yield listening.getsockname()[1]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def mute(connection: socket.socket) -> None:
    """Reads on and says nothing."""
    while await asyncio.get_running_loop().sock_recv(connection, 65536):
        pass


def says(answer: bytes) -> Server:
    async def server(connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_recv(connection, 65536)
        await loop.sock_sendall(connection, answer)
        await mute(connection)

    return server


async def hangs_up(connection: socket.socket) -> None:
    await asyncio.get_running_loop().sock_recv(connection, 65536)


async def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def at(port: int, peer: Endpoint, host: str = "127.0.0.1") -> Address:
    return parse(f"/ip4/{host}/tcp/{port}/p2p/{peer_id_to_text(peer.peer_id)}")


async def test_names_and_numbers_are_resolved() -> None:
    assert await resolve(parse("/ip4/192.0.2.1/tcp/4001")) == [("192.0.2.1", 4001)]
    assert await resolve(parse("/ip6/2001:db8::1/tcp/4001")) == [("2001:db8::1", 4001)]
    assert await resolve(parse("/dns4/localhost/tcp/4001")) == [("127.0.0.1", 4001)]
    assert set(await resolve(parse("/dns/localhost/tcp/4001"))) <= {("127.0.0.1", 4001), ("::1", 4001)}


@pytest.mark.parametrize("name", ["a..b", "x" * 64, "-", "a b", "\u2025"])
async def test_a_name_that_is_none_is_told(name: str) -> None:
    with pytest.raises(AddressError):
        await resolve(parse(f"/dns4/{name}/tcp/4001"))


async def test_the_one_who_was_asked_for_answers(me: Endpoint, them: Endpoint) -> None:
    port = them.listen("127.0.0.1", 0)
    session = await Dialer(me).connect(at(port, them))
    assert (session.peer_id, session.via) == (them.peer_id, b"")
    assert await Dialer(me).connect(at(port, them)) is session


@pytest.mark.parametrize(
    ("server", "kind", "text"),
    [
        (
            says(b"HTTP/1.1 400 Bad Request\r\n" + b"Server: something else\r\n" * 4),
            HandshakeError,
            "not multistream-select",
        ),
        (says(b"\x00"), HandshakeError, "not multistream-select"),
        (says(MULTISTREAM + b"\x03na\n"), HandshakeError, "does not speak /noise"),
        (says(MULTISTREAM + b"\x07/noise\n" + bytes(60)), HandshakeError, "no connection to"),
        (says(MULTISTREAM + b"\x07/noise\n\xff\xff"), HandshakeError, "handshake message is too long"),
        (hangs_up, HandshakeError, "closed the connection"),
        (resets, DialError, "connection reset by peer"),
    ],
    ids=["http", "zero", "tls only", "forged", "long", "closed", "reset"],
)
async def test_whoever_does_not_complete_the_handshake_is_told_of(
    me: Endpoint, them: Endpoint, server: Server, kind: type[DialError], text: str
) -> None:
    async with serving(server) as port:
        with pytest.raises(kind, match=text) as caught:
            await Dialer(me).connect(at(port, them))
    assert type(caught.value) is kind
    assert f"127.0.0.1 port {port}: " in str(caught.value)
    assert str(caught.value).startswith(f"no connection to {peer_id_to_text(them.peer_id)}: ")
    assert me.connections == 0


async def test_where_nobody_listens_there_is_no_connection_rather_than_no_handshake(
    me: Endpoint, them: Endpoint
) -> None:
    with pytest.raises(DialError, match=r"127\.0\.0\.1 port 1: connection refused; check that it runs") as caught:
        await Dialer(me).connect(at(1, them))
    assert type(caught.value) is DialError


async def test_someone_else_is_told_apart_from_a_failed_handshake(me: Endpoint, them: Endpoint) -> None:
    port = them.listen("127.0.0.1", 0)
    with pytest.raises(PeerIdMismatch, match="another identity"):
        await Dialer(me).connect(at(port, me))
    assert me.connections == 0
    await until(lambda: them.connections == 0)


async def test_an_address_must_name_its_peer(me: Endpoint) -> None:
    with pytest.raises(AddressError, match="/p2p/"):
        await Dialer(me).connect(parse("/ip4/127.0.0.1/tcp/1"))


# --- several places ----------------------------------------------------------------------------------------------


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where every name leads."""
    found: list[tuple[str, int]] = []

    async def resolve(_: Address) -> list[tuple[str, int]]:
        return found

    monkeypatch.setattr(dialing, "resolve", resolve)
    return found


async def test_a_silent_place_is_overtaken_and_left(
    me: Endpoint, them: Endpoint, places: list[tuple[str, int]]
) -> None:
    async with serving(mute) as silent:
        places += [("127.0.0.1", silent), ("127.0.0.1", them.listen("127.0.0.1", 0))]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        session = await Dialer(me).connect(at(1, them))
        assert loop.time() - begun >= 0.2
        assert session.peer_id == them.peer_id
        await until(lambda: me.connections == 1)


async def test_a_place_that_refuses_costs_no_time(
    me: Endpoint, them: Endpoint, places: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "_HEAD_START_S", 60.0)
    async with serving(hangs_up) as rude:
        places += [("127.0.0.1", 1), ("::1", 1), ("127.0.0.1", rude), ("127.0.0.1", them.listen("127.0.0.1", 0))]
        async with asyncio.timeout(10):
            assert (await Dialer(me).connect(at(1, them))).peer_id == them.peer_id


async def test_of_two_that_answer_one_is_kept(
    me: Endpoint, them: Endpoint, places: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "_HEAD_START_S", 0.0)
    places += [("127.0.0.1", them.listen("127.0.0.1", 0)) for _ in range(8)]
    session = await Dialer(me).connect(at(1, them))
    await until(lambda: me.connections == them.connections == 1)
    assert not session.closed
    assert me.session_of(them.peer_id) is session


async def test_when_every_place_fails_each_is_told(me: Endpoint, them: Endpoint, places: list[tuple[str, int]]) -> None:
    async with serving(hangs_up) as rude:
        places += [("127.0.0.1", 1), ("127.0.0.1", rude)]
        with pytest.raises(HandshakeError) as caught:
            await Dialer(me).connect(at(1, them))
    assert "127.0.0.1 port 1: connection refused; " in str(caught.value)
    assert f"127.0.0.1 port {rude}: the other side closed the connection; " in str(caught.value)


async def test_someone_else_at_any_place_is_what_is_told(
    me: Endpoint, them: Endpoint, places: list[tuple[str, int]]
) -> None:
    async with serving(hangs_up) as rude:
        places += [("127.0.0.1", them.listen("127.0.0.1", 0)), ("127.0.0.1", rude)]
        with pytest.raises(PeerIdMismatch):
            await Dialer(me).connect(at(1, me))


async def test_a_name_without_addresses_is_told(me: Endpoint, them: Endpoint, places: list[tuple[str, int]]) -> None:
    assert places == []
    with pytest.raises(DialError, match="its name has no address"):
        await Dialer(me).connect(at(1, them))


# --- giving up ---------------------------------------------------------------------------------------------------


async def test_a_cancelled_dial_closes_its_connection_at_once(me: Endpoint, them: Endpoint) -> None:
    closed = asyncio.Event()

    async def server(connection: socket.socket) -> None:
        await mute(connection)
        closed.set()

    async with serving(server) as port:
        dial = asyncio.ensure_future(Dialer(me).connect(at(port, them)))
        await until(lambda: me.connections == 1)
        dial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dial
        await closed.wait()
        assert me.connections == 0


async def test_a_dial_cancelled_when_it_has_succeeded_leaves_no_connection(me: Endpoint, them: Endpoint) -> None:
    port = them.listen("127.0.0.1", 0)
    dial = asyncio.ensure_future(Dialer(me).connect(at(port, them)))
    # Called for the session before whoever dialed can run.
    me.on_session = lambda session: dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial
    assert me.session_of(them.peer_id) is None
    await until(lambda: me.connections == them.connections == 0)


async def test_a_waiting_dial_goes_on_when_the_one_before_it_gives_up(me: Endpoint, them: Endpoint) -> None:
    port = them.listen("127.0.0.1", 0)
    dialer = Dialer(me)
    first, *others = (asyncio.ensure_future(dialer.connect(at(port, them))) for _ in range(4))
    await asyncio.sleep(0)
    first.cancel()
    late = asyncio.ensure_future(dialer.connect(at(port, them)))
    assert len({id(session) for session in await asyncio.gather(*others, late)}) == 1
    await until(lambda: me.connections == 1)
    assert them.accepted <= 2


async def test_an_endpoint_that_closes_fails_its_dials(me: Endpoint, them: Endpoint) -> None:
    async with serving(mute) as port:
        dial = asyncio.ensure_future(Dialer(me).connect(at(port, them)))
        await until(lambda: me.connections == 1)
        me.close()
        with pytest.raises(DialError, match="shutting down"):
            await dial
        with pytest.raises(DialError, match="shutting down"):
            await Dialer(me).connect(at(port, them))


# --- deadlines ---------------------------------------------------------------------------------------------------


async def test_a_deadline_tells_what_took_too_long() -> None:
    with pytest.raises(TimeoutExpired, match=r"^tying a knot took longer than 0\.01 s; try again") as caught:
        async with deadline(0.01, "tying a knot"):
            await asyncio.Event().wait()
    assert isinstance(caught.value, TimeoutError)


async def test_a_deadline_leaves_other_errors_alone() -> None:
    for error in (TimeoutError("of the network"), ZeroDivisionError(), TimeoutExpired("an inner one")):
        with pytest.raises(type(error)) as caught:
            async with deadline(60, "this"):
                raise error
        assert caught.value is error


async def test_an_outer_deadline_ends_an_inner_one() -> None:
    with pytest.raises(TimeoutExpired, match="the whole"):
        async with deadline(0.01, "the whole"), deadline(60, "a part"):
            await asyncio.Event().wait()
