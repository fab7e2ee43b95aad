"""Nothing of a question or a dial outlives it, however it ends; see test_native_lifetimes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import uvloop

from tests.peerlab.yamux import FIN
from tests.unit.native.memory import check_nothing_stays
from tests.unit.native.raw import RawPeer
from tests.unit.native.test_native_autonat import (
    DIAL_ERROR,
    DIAL_OK,
    ELSEWHERE,
    OK,
    REFUSED,
    Client,
    Server,
    client,
    data,
    dial_back,
    friends,
    request,
    response,
    server,
)
from tests.unit.nodes import until
from towpath._native.autonat import DIAL_BACK, DIAL_REQUEST, AskFailed

pytestmark = pytest.mark.slow

ROUNDS, WARM = 60, 200


def forget(peer: RawPeer) -> None:
    peer.settle()
    assert not peer.closed
    peer.streams.clear()
    peer.frames.clear()
    peer.messages.clear()
    peer.opened.clear()
    peer.violations.clear()


# --- questions -----------------------------------------------------------------------------------------------------


def answered(c: Client) -> None:
    future, stream, _ = c.ask()
    stream.send(response(OK, DIAL_ERROR), FIN)
    assert future.result()


def proved(c: Client) -> None:
    future, stream, nonce = c.ask()
    back = RawPeer(c.world, c.endpoint, remote=ELSEWHERE).connect()
    dial_back(back, nonce)
    stream.send(response(OK, DIAL_OK), FIN)
    assert future.result()[2]
    back.channel.close()
    c.world.run()


def given_up(c: Client) -> None:
    future, stream, _ = c.ask()
    future.cancel()
    c.world.run()
    c.server.settle()
    assert stream.reset_by_them


def broken_off(c: Client) -> None:
    future, stream, _ = c.ask()
    stream.reset()
    assert isinstance(future.exception(), AskFailed)


def with_a_stray_dial_back(c: Client) -> None:
    back = RawPeer(c.world, c.endpoint, remote=ELSEWHERE).connect()
    dial_back(back, 1)
    back.open(DIAL_BACK).reset()
    back.channel.close()
    c.world.run()


@pytest.mark.parametrize("way", [answered, proved, given_up, broken_off, with_a_stray_dial_back])
def test_a_question_leaves_nothing(way: Callable[[Client], None]) -> None:
    with client() as asked:

        def once() -> None:
            way(asked)
            forget(asked.server)

        check_nothing_stays(once, rounds=ROUNDS, warm=WARM)


# --- requests ------------------------------------------------------------------------------------------------------


def refused(s: Server, peer: RawPeer) -> None:
    s.verdict = REFUSED
    peer.open(DIAL_REQUEST, request(ELSEWHERE)).finish()


def left_unpaid(s: Server, peer: RawPeer) -> None:
    s.verdict = (0, "127.0.0.1", 1, 30_000, 0)
    stream = peer.open(DIAL_REQUEST, request(ELSEWHERE))
    stream.send(data(4096))
    stream.reset()


def left_while_it_waits(s: Server, peer: RawPeer) -> None:
    s.verdict = (0, "127.0.0.1", 1, 0, 60_000)
    peer.open(DIAL_REQUEST, request(ELSEWHERE)).reset()


def not_dialed(s: Server, peer: RawPeer) -> None:
    s.verdict = (0, "not an address", 1, 0, 0)
    peer.open(DIAL_REQUEST, request(ELSEWHERE)).finish()


@pytest.mark.parametrize("way", [refused, left_unpaid, left_while_it_waits, not_dialed])
def test_a_request_leaves_nothing(way: Callable[[Server, RawPeer], None]) -> None:
    with server() as found:
        peer = found.client()

        def once() -> None:
            way(found, peer)
            forget(peer)
            found.asked.clear()
            found.ended.clear()

        check_nothing_stays(once, rounds=ROUNDS, warm=WARM)


@pytest.mark.parametrize("listens", [True, False], ids=["reached", "not reached"])
def test_a_dial_leaves_nothing(*, listens: bool) -> None:
    loop = uvloop.new_event_loop()

    async def ask() -> None:
        assert (await both.ask())[2] is listens
        await until(lambda: both.client.connections == 1)
        both.asked.clear()
        both.ended.clear()

    around = friends()
    both = loop.run_until_complete(around.__aenter__())
    try:
        if not listens:
            both.client.stop_listening()
        check_nothing_stays(lambda: loop.run_until_complete(ask()), rounds=ROUNDS, warm=WARM)
    finally:
        loop.run_until_complete(around.__aexit__(None, None, None))
        loop.close()
