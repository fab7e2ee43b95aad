"""Python code that is called from native code and fails: it is heard of, and costs nobody else anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.native.raw import RawPeer
from tests.unit.native.still import World
from towpath._native.appstream import open_stream
from towpath._native.endpoint import Endpoint, HandshakeFailed, pin_session
from towpath._native.reactor import Reactor
from towpath._native.session import Session

APP = "/app/1"


def fails(*_: object) -> None:
    raise ValueError("a callback that fails")


def test_a_stream_whose_acceptor_fails_is_reset() -> None:
    with World() as world:
        endpoint = world.endpoint()
        endpoint.set_handler(APP, fails)
        peer = RawPeer(world, endpoint).connect()
        stream = peer.open(APP)
        assert stream.reset_by_them
        assert [str(one["exception"]) for one in world.loop.complaints] == ["a callback that fails"]
        world.loop.complaints.clear()
        peer.ping()


def test_sessions_begin_and_end_though_who_is_told_of_them_fails() -> None:
    with World() as world:
        endpoint = world.endpoint()
        endpoint.on_session = fails
        endpoint.on_session_end = fails
        peer = RawPeer(world, endpoint).connect()
        peer.ping()
        peer.channel.close()
        assert endpoint.connections == 0
        assert not endpoint.peers
        assert len(world.unraisable) == 2
        world.unraisable.clear()


def test_callbacks_hear_of_each_session_once_and_may_end_it() -> None:
    with World() as world:
        endpoint = world.endpoint()
        heard: list[tuple[str, Any]] = []

        def end_it(session: Session) -> None:
            heard.append(("begun", session))
            session.abort()

        endpoint.on_session = end_it
        endpoint.on_session_end = lambda session, why: heard.append(("ended", session))
        peer = RawPeer(world, endpoint)
        with pytest.raises(AssertionError):
            peer.connect().ping()
        assert [what for what, _ in heard] == ["begun", "ended"]
        assert heard[0][1] is heard[1][1]
        assert peer.closed
        assert endpoint.connections == 0


def test_a_session_that_ended_takes_no_stream_and_no_pin() -> None:
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint).connect()
        session = endpoint.session_of(peer.peer_id)
        assert session is not None
        peer.channel.close()
        assert open_stream(session, APP) is None
        pin_session(session, 1)
        pin_session(session, -1)
        session.ping()
        session.close()
        session.abort()
        assert session.closed
        assert world.timers == 0


def test_a_session_the_other_side_has_taken_leave_of_takes_no_stream() -> None:
    with World() as world:
        endpoint = world.endpoint()
        endpoint.set_handler(APP, lambda stream: None)
        peer = RawPeer(world, endpoint).connect()
        peer.open(APP)
        session = endpoint.session_of(peer.peer_id)
        assert session is not None
        peer.post(b"\x00\x03" + bytes(10))
        assert session.going_away
        assert open_stream(session, APP) is None
        assert endpoint.session_of(peer.peer_id) is None


async def test_who_waits_for_a_dial_is_answered_though_who_hears_of_it_fails() -> None:
    loop = asyncio.get_running_loop()
    with World() as ends:
        reactor = Reactor(loop, "libsodium")
        listener, dialer = Endpoint(reactor, bytes(32)), Endpoint(reactor, bytes([1]) * 32)
        try:
            port = listener.listen("127.0.0.1", 0)
            dialer.on_session = fails
            session = await asyncio.wait_for(dialer.dial("127.0.0.1", port, listener.peer_id), 10)
            assert session.peer_id == listener.peer_id
            with pytest.raises(HandshakeFailed):
                await asyncio.wait_for(dialer.dial("127.0.0.1", port, dialer.peer_id), 10)
            assert ends.unraisable
            ends.unraisable.clear()
        finally:
            dialer.close()
            listener.close()
            for _ in range(3):
                await asyncio.sleep(0)
            reactor.close()
