"""AutoNAT v2: what a server does for a client, and when a client believes a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.peerlab.protobuf import Fields, message, prefixed, varint
from tests.peerlab.yamux import FIN, SYN
from tests.unit.native.raw import RawPeer, RawStream
from tests.unit.native.still import World
from tests.unit.nodes import until
from towpath._native.autonat import DIAL_BACK, DIAL_REQUEST, AskFailed, Autonat
from towpath._native.endpoint import Endpoint, pack_remote
from towpath._native.reactor import Reactor
from towpath._native.session import Session

OK, REJECTED, REFUSED = 200, 100, 101
DIAL_OK, DIAL_ERROR = 200, 100
REQUEST, RESPONSE, DATA_REQUEST, DATA = 1, 2, 3, 4
ELSEWHERE = b"\x04\x01\x02\x03\x04\x06\x0f\xa1"
"""/ip4/1.2.3.4/tcp/4001"""


def inside(data: bytes, kind: int) -> Fields:
    """The message of that kind in a message."""
    inner = Fields(data).binary(kind)
    assert inner is not None
    return Fields(inner)


def fixed64(number: int, value: int) -> bytes:
    return varint(number << 3 | 1) + value.to_bytes(8, "little")


def request(*addresses: bytes, nonce: int = 7) -> bytes:
    return prefixed(message([(REQUEST, message([(1, a) for a in addresses]) + fixed64(2, nonce))]))


def response(status: int, dial_status: int = 0, index: int = 0) -> bytes:
    return prefixed(message([(RESPONSE, message([(1, status), (2, index), (3, dial_status)]))]))


def data(size: int) -> bytes:
    return prefixed(message([(DATA, message([(1, bytes(size))]))]))


def answer(stream: RawStream) -> tuple[int | None, int | None, int | None]:
    """Status, index and dial status that the endpoint answered."""
    fields = inside(stream.take_message(), RESPONSE)
    return fields.integer(1), fields.integer(2), fields.integer(3)


# --- both sides, over loopback -------------------------------------------------------------------------------------


@dataclass
class Friends:
    """A client that listens, and a server that it is connected to."""

    client: Endpoint
    server: Endpoint
    asking: Autonat
    session: Session
    port: int
    verdict: Any
    asked: list[tuple[bytes, bytes, list[bytes]]] = field(default_factory=list)
    ended: list[bytes] = field(default_factory=list)

    def decide(self, peer_id: bytes, remote: bytes, addresses: list[bytes]) -> Any:
        self.asked.append((peer_id, remote, addresses))
        return self.verdict

    async def ask(self, port: int | None = None) -> tuple[int, int, bool]:
        return await self.asking.ask(self.session, pack_remote("127.0.0.1", port or self.port))


@asynccontextmanager
async def friends() -> AsyncIterator[Friends]:
    reactor = Reactor(asyncio.get_running_loop(), "libsodium")
    client, server = Endpoint(reactor, os.urandom(32)), Endpoint(reactor, os.urandom(32))
    port = client.listen("127.0.0.1", 0)
    session = await client.dial("127.0.0.1", server.listen("127.0.0.1", 0))
    asking = Autonat(client, lambda *_: REJECTED, lambda _: None)
    both = Friends(client, server, asking, session, port, (0, "127.0.0.1", port, 0, 0))
    serving = Autonat(server, both.decide, both.ended.append)
    serving.serve(True)
    try:
        yield both
    finally:
        for autonat in (asking, serving):
            autonat.close()
        for endpoint in (client, server):
            endpoint.close()
            endpoint.abort()
        await asyncio.sleep(0)
        reactor.close()


async def test_an_address_that_works_is_dialed_and_proved() -> None:
    async with friends() as both:
        assert await both.ask() == (OK, DIAL_OK, True)
        ((peer_id, remote, addresses),) = both.asked
        assert peer_id == both.client.peer_id
        assert remote == both.server.peers[peer_id].sessions[0].remote
        assert addresses == [pack_remote("127.0.0.1", both.port)]
        assert both.ended == [both.client.peer_id]


async def test_a_paid_dial_works_too() -> None:
    async with friends() as both:
        both.verdict = (0, "127.0.0.1", both.port, 100_000, 10)
        assert await both.ask() == (OK, DIAL_OK, True)


async def test_a_dial_back_is_no_connection_of_the_server() -> None:
    async with friends() as both:
        seen: list[bytes] = []
        both.client.on_session = lambda session: seen.append(session.peer_id)
        await both.ask()
        assert len(seen) == 1
        assert both.server.peer_id not in seen
        assert len(both.server.peers[both.client.peer_id].sessions) == 1


async def test_a_closed_port_is_a_dial_error() -> None:
    async with friends() as both:
        both.client.stop_listening()
        assert await both.ask() == (OK, DIAL_ERROR, False)
        assert both.ended == [both.client.peer_id]


async def test_somebody_else_at_the_address_is_a_dial_error() -> None:
    async with friends() as both:
        other = Endpoint(both.client.reactor, os.urandom(32))
        both.verdict = (0, "127.0.0.1", other.listen("127.0.0.1", 0), 0, 0)
        assert await both.ask() == (OK, DIAL_ERROR, False)
        other.close()


@pytest.mark.parametrize("status", [REJECTED, REFUSED, 0])
async def test_a_refusal_is_told(status: int) -> None:
    async with friends() as both:
        both.verdict = status
        assert await both.ask() == (status, 0, False)
        assert both.ended == []


async def test_who_does_not_serve_gives_no_answer() -> None:
    async with friends() as both:
        session = await both.server.dial("127.0.0.1", both.port)
        asking = Autonat(both.server, lambda *_: REJECTED, lambda _: None)
        with pytest.raises(AskFailed, match="does not speak AutoNAT"):
            await asking.ask(session, ELSEWHERE)


async def test_a_question_can_be_given_up() -> None:
    async with friends() as both:
        both.verdict = (0, "127.0.0.1", both.port, 0, 60_000)
        question = both.asking.ask(both.session, pack_remote("127.0.0.1", both.port))
        await until(lambda: both.asked)
        question.cancel()
        await until(lambda: both.ended)
        both.verdict = (0, "127.0.0.1", both.port, 0, 0)
        assert await both.ask() == (OK, DIAL_OK, True)


async def test_a_connection_that_ends_ends_the_question() -> None:
    async with friends() as both:
        both.verdict = (0, "127.0.0.1", both.port, 0, 60_000)
        question = both.asking.ask(both.session, pack_remote("127.0.0.1", both.port))
        await until(lambda: both.asked)
        both.session.abort()
        with pytest.raises(AskFailed):
            await question
        with pytest.raises(AskFailed, match="connection is closed"):
            await both.asking.ask(both.session, ELSEWHERE)


async def test_a_policy_that_fails_is_an_internal_error() -> None:
    async with friends() as both:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        both.verdict = "nonsense"
        assert await both.ask() == (0, 0, False)
        assert len(complaints) == 1
        assert both.ended == [both.client.peer_id]


# --- a server and a client that is not what it should be -----------------------------------------------------------


@dataclass
class Server:
    """An endpoint that serves, on a loop that stands still."""

    world: World
    endpoint: Endpoint
    verdict: Any = REFUSED
    asked: list[list[bytes]] = field(default_factory=list)
    ended: list[bytes] = field(default_factory=list)

    def client(self, remote: bytes = ELSEWHERE) -> RawPeer:
        return RawPeer(self.world, self.endpoint, remote=remote).connect()

    def decide(self, peer_id: bytes, remote: bytes, addresses: list[bytes]) -> Any:
        self.asked.append(addresses)
        return self.verdict


@contextmanager
def server() -> Iterator[Server]:
    with World() as world:
        found = Server(world, world.endpoint())
        autonat = Autonat(found.endpoint, found.decide, found.ended.append)
        autonat.serve(True)
        yield found
        autonat.close()


def test_a_request_in_pieces_is_understood() -> None:
    with server() as found:
        stream = found.client().open(DIAL_REQUEST)
        for byte in request(ELSEWHERE, b"\x01nonsense"):
            stream.send(bytes([byte]))
        assert found.asked == [[ELSEWHERE, b"\x01nonsense"]]
        assert answer(stream)[0] == REFUSED
        assert stream.fin


def test_who_comes_through_a_relay_or_from_nowhere_is_rejected() -> None:
    with server() as found:
        stream = found.client(b"").open(DIAL_REQUEST, request(ELSEWHERE))
        assert answer(stream)[0] == REJECTED
        assert found.asked == []


@pytest.mark.parametrize(
    "said",
    [
        prefixed(b"\xff"),
        varint(8193) + bytes(8193),
        prefixed(b""),
        data(4096),
        response(OK),
        prefixed(message([(DATA_REQUEST, b"")])),
        b"\xff" * 10,
    ],
    ids=["malformed", "too long", "empty", "data", "a response", "a request for data", "no length"],
)
def test_anything_but_a_request_resets_the_stream(said: bytes) -> None:
    with server() as found:
        peer = found.client()
        stream = peer.open(DIAL_REQUEST, said)
        assert stream.reset_by_them
        assert not peer.closed
        assert found.asked == []


def test_the_client_pays_before_anything_is_dialed() -> None:
    with server() as found:
        found.verdict = (1, "127.0.0.1", 1, 30_000, 60_000)
        stream = found.client().open(DIAL_REQUEST, request(b"\x01", ELSEWHERE))
        wanted = inside(stream.take_message(), DATA_REQUEST)
        assert (wanted.integer(1), wanted.integer(2)) == (1, 30_000)
        timers = found.world.timers
        for _ in range(7):
            stream.send(data(4096))
        assert stream.ended is None
        # Beyond what is owed it may be more; then it only waits.
        stream.send(data(4096))
        assert stream.ended is None
        assert found.world.timers == timers
        assert found.ended == []
        stream.reset()
        assert found.ended != []


def test_requests_are_bounded_and_their_places_come_back() -> None:
    with server() as found:
        peers = [found.client() for _ in range(3)]
        streams = [peers[n % 3].open(DIAL_REQUEST, request(ELSEWHERE)[:1]) for n in range(128)]
        assert peers[0].open(DIAL_REQUEST).reset_by_them
        assert not any(stream.ended for stream in streams)
        streams[0].reset()
        streams[1].send(request(ELSEWHERE)[1:], FIN)
        assert answer(streams[1])[0] == REFUSED
        for _ in range(2):
            last = peers[0].open(DIAL_REQUEST, request(ELSEWHERE)[:1])
            assert last.ended is None
        assert peers[0].open(DIAL_REQUEST).reset_by_them


def test_who_pays_in_small_coin_is_reset() -> None:
    with server() as found:
        found.verdict = (0, "127.0.0.1", 1, 30_000, 0)
        stream = found.client().open(DIAL_REQUEST, request(ELSEWHERE))
        stream.send(data(99))
        assert stream.reset_by_them
        assert len(found.ended) == 1


def test_who_ends_without_paying_is_reset() -> None:
    with server() as found:
        found.verdict = (0, "127.0.0.1", 1, 30_000, 0)
        stream = found.client().open(DIAL_REQUEST, request(ELSEWHERE))
        stream.send(data(4096), FIN)
        assert stream.reset_by_them
        assert len(found.ended) == 1


# --- a client and a server that is not what it should be -----------------------------------------------------------


@dataclass
class Client:
    """An endpoint that asks a raw server, on a loop that stands still."""

    world: World
    endpoint: Endpoint
    autonat: Autonat
    server: RawPeer

    def ask(self) -> tuple[asyncio.Future[tuple[int, int, bool]], RawStream, int]:
        """The question, its stream as the server sees it, and its nonce."""
        (session,) = self.endpoint.peers[self.server.peer_id].sessions
        future = self.autonat.ask(session, ELSEWHERE)
        stream = self.server.accept(DIAL_REQUEST)
        fields = inside(stream.take_message(), REQUEST)
        assert fields.all_binary(1) == [ELSEWHERE]
        return future, stream, int.from_bytes(fields.binary(2) or b"", "little")

    def failure(self, future: asyncio.Future[tuple[int, int, bool]]) -> str:
        self.world.run()
        error = future.exception()
        assert isinstance(error, AskFailed)
        return str(error)


@contextmanager
def client() -> Iterator[Client]:
    with World() as world:
        endpoint = world.endpoint()
        autonat = Autonat(endpoint, lambda *_: REJECTED, lambda _: None)
        yield Client(world, endpoint, autonat, RawPeer(world, endpoint, dials=False, remote=ELSEWHERE).connect())
        autonat.close()


def dial_back(peer: RawPeer, nonce: int) -> RawStream:
    return peer.open(DIAL_BACK, prefixed(fixed64(1, nonce)))


def test_the_nonce_on_a_new_connection_is_believed_and_answered() -> None:
    with client() as asked:
        future, stream, nonce = asked.ask()
        back = RawPeer(asked.world, asked.endpoint, remote=ELSEWHERE).connect()
        returned = dial_back(back, nonce)
        assert returned.take_message() == b""
        assert returned.fin
        stream.send(response(OK, DIAL_OK))
        assert future.result() == (OK, DIAL_OK, True)


def test_a_nonce_may_come_behind_the_response() -> None:
    with client() as asked:
        future, stream, nonce = asked.ask()
        stream.send(response(OK, DIAL_OK), FIN)
        assert not future.done()
        dial_back(RawPeer(asked.world, asked.endpoint, remote=ELSEWHERE).connect(), nonce)
        assert future.result() == (OK, DIAL_OK, True)


@pytest.mark.slow
def test_a_claim_without_the_nonce_is_not_proved() -> None:
    with client() as asked:
        future, stream, _ = asked.ask()
        stream.send(response(OK, DIAL_OK))
        asked.world.loop.run_until(future.done, "the client gives up waiting for the nonce")
        assert future.result() == (OK, DIAL_OK, False)


def test_a_nonce_on_the_connection_that_was_there_proves_nothing() -> None:
    with client() as asked:
        _, stream, nonce = asked.ask()
        assert dial_back(asked.server, nonce).reset_by_them
        stream.send(response(OK, DIAL_ERROR))


def test_a_nonce_on_another_connection_from_before_proves_nothing() -> None:
    with client() as asked:
        before = RawPeer(asked.world, asked.endpoint, remote=ELSEWHERE).connect()
        _, stream, nonce = asked.ask()
        assert dial_back(before, nonce).reset_by_them
        stream.send(response(OK, DIAL_ERROR))


@pytest.mark.parametrize(
    ("dials", "remote"),
    [(False, ELSEWHERE), (True, pack_remote("2001:db8::1", 1)), (True, b"")],
    ids=["one we opened", "another family", "one from nowhere"],
)
def test_a_connection_of_another_kind_proves_nothing(dials: bool, remote: bytes) -> None:
    with client() as asked:
        _, stream, nonce = asked.ask()
        back = RawPeer(asked.world, asked.endpoint, dials=dials, remote=remote).connect()
        assert dial_back(back, nonce).reset_by_them
        stream.send(response(OK, DIAL_ERROR))


def test_a_wrong_nonce_proves_nothing() -> None:
    with client() as asked:
        future, stream, nonce = asked.ask()
        back = RawPeer(asked.world, asked.endpoint, remote=ELSEWHERE).connect()
        for wrong in (prefixed(fixed64(1, nonce ^ 1)), prefixed(b""), prefixed(b"\xff"), varint(1025)):
            assert back.open(DIAL_BACK, wrong).reset_by_them
        stream.send(response(OK, DIAL_ERROR))
        assert future.result() == (OK, DIAL_ERROR, False)


def test_the_client_pays_what_is_asked_and_no_more_than_once() -> None:
    with client() as asked:
        future, stream, _ = asked.ask()
        stream.send(prefixed(message([(DATA_REQUEST, message([(2, 30_001)]))])))
        paid = 0
        while stream.received:
            paid += len(inside(stream.take_message(), DATA).binary(1) or b"")
        assert 30_001 <= paid < 30_001 + 4096
        stream.send(prefixed(message([(DATA_REQUEST, message([(2, 30_001)]))])))
        assert "expected" in asked.failure(future)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (prefixed(message([(DATA_REQUEST, message([(2, 100_001)]))])), "expected"),
        (prefixed(message([(DATA_REQUEST, message([(1, 1), (2, 30_000)]))])), "expected"),
        (response(OK, DIAL_OK, index=1), "not asked about"),
        (response(OK, DIAL_ERROR, index=1), "not asked about"),
        (prefixed(b"\xff"), "malformed"),
        (varint(8193), "too long"),
        (prefixed(b""), "expected"),
        (request(ELSEWHERE), "expected"),
    ],
    ids=["too dear", "another address", "another index", "another refused", "malformed", "too long", "empty", "echo"],
)
def test_a_server_that_says_something_else_is_left(said: bytes, why: str) -> None:
    with client() as asked:
        future, stream, _ = asked.ask()
        stream.send(said)
        assert why in asked.failure(future)
        assert stream.reset_by_them


def test_a_server_that_ends_without_an_answer_is_left() -> None:
    with client() as asked:
        future, stream, _ = asked.ask()
        stream.send(b"", FIN)
        assert "without an answer" in asked.failure(future)
        future, stream, _ = asked.ask()
        stream.reset()
        assert "broke off" in asked.failure(future)


def test_what_is_asked_ends_with_autonat() -> None:
    with client() as asked:
        asked.autonat.close()
        stream = asked.server.stream()
        stream.send(b"\x13/multistream/1.0.0\n" + bytes([len(DIAL_BACK) + 1]) + DIAL_BACK.encode() + b"\n", SYN)
        stream.take_lines("/multistream/1.0.0", "na")
