"""Connections that die without a word are noticed; those that are only slow are left alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.nodes import ECHO, Meeting, Proxy, address, meeting, until
from towpath.addresses import parse, peer_id_to_bytes
from towpath.client import liveness
from towpath.client.liveness import PATIENCE_S, PROBE_S, lost
from towpath.errors import StreamReset

seconds = st.floats(0, 1000)


@pytest.fixture
async def met() -> AsyncIterator[Meeting]:
    async with meeting() as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks often, and bears with what was acknowledged as ever."""
    monkeypatch.setattr(liveness, "PROBE_S", 0.3)


def through(proxy: Proxy, met: Meeting) -> str:
    return f"/ip4/127.0.0.1/tcp/{proxy.port}/p2p/{met.relay.relay_id}"


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_a_circuit_whose_relay_dies_silently_ends(met: Meeting) -> None:
    async with Proxy(parse(address(met.relay)).port) as between:
        stream = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=through(between, met))
        stream.write(b"heard")
        assert await stream.readexactly(5) == b"heard"
        between.die()
        died = time.monotonic()
        stream.write(b"never heard")
        with pytest.raises(StreamReset):
            await stream.read()
        assert time.monotonic() - died < 3
        assert met.alice.peers() == []


@pytest.mark.usefixtures("impatient")
async def test_one_that_only_listens_notices_it_too(met: Meeting) -> None:
    async with Proxy(parse(address(met.relay)).port) as between:
        stream = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=through(between, met))
        between.die()
        with pytest.raises(StreamReset):
            await asyncio.wait_for(stream.read(), 5)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_a_relay_that_answers_late_is_not_given_up(met: Meeting) -> None:
    async with Proxy(parse(address(met.relay)).port) as between:
        stream = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=through(between, met))
        between.fall_silent()
        stream.write(b"x" * 100_000)
        session = met.alice._peer.session_of(peer_id_to_bytes(met.relay.relay_id))
        assert session is not None
        await asyncio.sleep(8 * liveness.PROBE_S)
        assert session.ping_pending
        assert not session.closed


async def test_a_connection_that_carries_nothing_is_not_asked(met: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PROBE_S", 0.02)
    dialer = met.alice._client.dialer
    session = await dialer.connect(parse(address(met.relay)))
    await until(lambda: session.stream_count == 0 and not session.ping_pending)
    asked = dialer._liveness._asked_at[session]
    await asyncio.sleep(0.2)
    assert dialer._liveness._asked_at[session] == asked
    session.close()
    await until(lambda: session not in dialer._liveness._asked_at)
    assert dialer._liveness._timer is None


@given(seconds, seconds)
def test_what_is_acknowledged_gets_patience_and_what_is_not_does_not(asked_s: float, unheard_s: float) -> None:
    if asked_s < PROBE_S:
        assert not lost(asked_s, unheard_s)
    if asked_s >= PATIENCE_S or (asked_s >= PROBE_S and unheard_s >= PROBE_S):
        assert lost(asked_s, unheard_s)
    if asked_s < PATIENCE_S:
        assert not lost(asked_s, 0.0)


@given(seconds, seconds, seconds, seconds)
def test_longer_silence_is_never_more_life(asked_s: float, unheard_s: float, more: float, still_more: float) -> None:
    assert lost(asked_s, unheard_s) <= lost(asked_s + more, unheard_s + still_more)
