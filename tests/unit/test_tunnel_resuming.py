"""Tunneled connections whose streams are lost: over streams in memory and real sockets on loopback."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from tests.unit.stream_pair import MemoryStream, stream_pair
from tests.unit.test_tunnel import RELAYS, SHARER, Tunnel, connected, echo
from towpath.client.ticket import Ticket
from towpath.client.tunnel import Share, opening, sharing, wire
from towpath.client.tunnel.ways import NotThere, Ways
from towpath.settings.values import HostPort

IDS = [relay.rpartition("/p2p/")[2] for relay in RELAYS]


async def until_ways(tunnel: Tunnel, *relays: str) -> None:
    """The opener's ways are these."""
    async with asyncio.timeout(10):
        while {way.relay for way in tunnel.opener.ways.up} != set(relays):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.005)


async def test_two_ways_are_held_and_a_lost_one_is_replaced() -> None:
    async with Tunnel(echo) as tunnel:
        await until_ways(tunnel, *RELAYS[:2])
        tunnel.node.kill(RELAYS[0])
        await until_ways(tunnel, *RELAYS[1:3])
        assert (await tunnel.until("peer_connected"))["peer"] == "opener"
        assert not any(event == "peer_left" for event, _ in tunnel.reports)


@pytest.mark.slow
async def test_a_transfer_goes_on_through_another_relay_each_time_its_own_is_killed() -> None:
    data = os.urandom(20_000_000)
    async with Tunnel(echo) as tunnel, connected(tunnel) as (reader, writer):
        await until_ways(tunnel, *RELAYS[:2])

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        got = b""
        for relay, following in zip(RELAYS[:3], IDS[1:4], strict=True):
            got += await reader.readexactly(5_000_000)
            await until_ways(tunnel, *[r for r in RELAYS if r not in tunnel.node.down][:2])
            tunnel.node.kill(relay)
            await tunnel.until("connection_moved", via=following)
        got += await reader.read(-1)
        await sending
        assert got == data
        closed = await tunnel.until("connection_closed")
        assert closed["sent"] == closed["received"] == len(data)


async def test_many_connections_go_on_together_and_keep_to_themselves() -> None:
    async with Tunnel(echo) as tunnel:
        await until_ways(tunnel, *RELAYS[:2])
        half_way = asyncio.Barrier(51)

        async def one(number: int) -> bool:
            data = os.urandom(300_000)
            async with connected(tunnel) as (reader, writer):
                writer.write(data[:1000])
                got = await reader.readexactly(1000)
                await half_way.wait()
                writer.write(data[1000:])
                writer.write_eof()
                return got + await reader.read(-1) == data

        carried = [asyncio.create_task(one(number)) for number in range(50)]
        await half_way.wait()
        tunnel.node.kill(RELAYS[0])
        assert all(await asyncio.gather(*carried))


@pytest.mark.slow
async def test_a_relay_that_falls_silent_is_given_up_and_its_circuit_with_it() -> None:
    async with Tunnel(echo) as tunnel, connected(tunnel) as (reader, writer):
        await until_ways(tunnel, *RELAYS[:2])
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        for stream in tunnel.node.streams:
            if stream.via == IDS[0]:
                silence(stream)
        began = asyncio.get_running_loop().time()
        writer.write(b"after")
        assert await reader.readexactly(5) == b"after"
        assert 2.5 < asyncio.get_running_loop().time() - began < 4.5
        assert RELAYS[0] in tunnel.node.doubted
        assert (await tunnel.until("connection_moved", via=IDS[1]))["peer"] == "opener"


def silence(stream: MemoryStream) -> None:
    """What is written to it goes nowhere, and nothing comes out of it any more."""
    stream.deaf = True
    stream._in.buffer = _Nothing()
    stream._out.buffer = _Nothing()


class _Nothing(bytearray):
    def __iadd__(self, _: Any) -> _Nothing:  # type: ignore[override, misc]
        return self


@pytest.mark.slow
async def test_a_receiver_notices_silence_although_it_has_nothing_to_send() -> None:
    go_on = asyncio.Event()

    async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"one")
        await go_on.wait()
        writer.write(b"two")
        writer.close()

    async with Tunnel(slow) as tunnel, connected(tunnel) as (reader, _writer):
        assert await reader.readexactly(3) == b"one"
        for stream in list(tunnel.node.streams):
            silence(stream)
        go_on.set()
        async with asyncio.timeout(8):
            assert await reader.readexactly(3) == b"two"


async def test_a_relay_that_moves_out_is_left_before_it_ends() -> None:
    async with Tunnel(echo) as tunnel, connected(tunnel) as (reader, writer):
        await until_ways(tunnel, *RELAYS[:2])
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        tunnel.node.moving.add(RELAYS[0])
        tunnel.opener.ways.note()
        moved = await tunnel.until("connection_moved", via=IDS[1])
        assert moved["peer"] == "opener"
        writer.write(b"after")
        assert await reader.readexactly(5) == b"after"
        await until_ways(tunnel, *RELAYS[1:3])


async def test_the_sharers_word_on_where_it_is_met_counts_more_than_the_ticket() -> None:
    async with Tunnel(echo) as tunnel, connected(tunnel) as (reader, writer):
        await until_ways(tunnel, *RELAYS[:2])
        writer.write(b"x")
        await reader.readexactly(1)
        tunnel.share.meet_at([RELAYS[3], RELAYS[2]])
        await until_ways(tunnel, RELAYS[3], RELAYS[2])
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"


async def test_a_ticket_whose_relays_are_all_gone_is_met_where_the_node_finds_its_sharer() -> None:
    async with Tunnel(echo) as tunnel:
        asked = []
        dial = tunnel.node.connect_to_peer_via_relay

        async def by_record(target: str, protocol: str, via: str | None = None, **how: Any) -> Any:
            asked.append(via)
            return await dial(target, protocol, RELAYS[3] if via is None else via)

        tunnel.node.down = set(RELAYS[:3])
        ways = Ways(tunnel.node, Ticket(SHARER, RELAYS[:3], tunnel.share._secret))
        tunnel.node.connect_to_peer_via_relay = by_record  # type: ignore[method-assign]
        async with ways:
            assert (await ways.best(seconds=5)).relay_id == IDS[3]
        assert None in asked


async def test_a_connection_waits_for_a_relay_to_come_back() -> None:
    async with Tunnel(echo) as tunnel, connected(tunnel) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        for relay in RELAYS:
            tunnel.node.kill(relay)
        writer.write(b"y")
        await asyncio.sleep(0.5)
        tunnel.node.down.clear()
        async with asyncio.timeout(10):
            assert await reader.readexactly(1) == b"y"


async def test_who_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "RESUME_S", 0.3)
    monkeypatch.setattr(opening, "RESUME_S", 0.3)
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listener(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")
        try:
            await reader.read(-1)
            ended.set_result("complete")
        except ConnectionResetError:
            ended.set_result("reset")

    async with Tunnel(listener) as tunnel, connected(tunnel) as (reader, writer):
        writer.write(b"half of it")
        await reader.readexactly(1)
        for relay in RELAYS:
            tunnel.node.kill(relay)
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        assert await ended == "reset"
        assert tunnel.share.connections == 0


async def opened(share: Share, peer: str, say: wire.Carry, secret: bytes = bytes(16)) -> tuple[wire.Answer, Any]:
    ours, theirs = stream_pair(peer)
    ours.write(secret + say.encode())
    task = asyncio.create_task(share.serve(theirs))  # type: ignore[arg-type]
    answer = wire.Answer.decode(await wire.read_message(ours))
    if answer.code:
        await ours.close_write()
    await task
    return answer, ours


async def test_only_the_same_peer_with_a_later_turn_may_go_on() -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def handler(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(writer)

    session = os.urandom(16)
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Share(HostPort("127.0.0.1", port), bytes(16)) as share:
            answer, first = await opened(share, "alice", wire.Carry(session, 1))
            assert answer == wire.Answer(0)
            first.write(wire.data_header(5) + b"hello")
            # Somebody else, even with the session's name, has another connection or none.
            answer, _ = await opened(share, "mallory", wire.Carry(session, 2, begun=True))
            assert answer.code == wire.Code.GONE
            answer, _ = await opened(share, "alice", wire.Carry(session, 1, begun=True))
            assert answer.code == wire.Code.STALE
            answer, _ = await opened(share, "alice", wire.Carry(session, 2, 99, begun=True))
            assert answer.code == wire.Code.GONE
            answer, _ = await opened(share, "alice", wire.Carry(session, 3, begun=True), secret=b"x" * 16)
            assert answer.code == wire.Code.DENIED
            answer, second = await opened(share, "alice", wire.Carry(session, 4, begun=True))
            assert answer == wire.Answer(0, received=5)
            with pytest.raises(Exception, match="reset"):
                while await first.read():
                    pass
            assert accepted.qsize() == 1
            second.reset()
        (await accepted.get()).close()


async def test_an_answer_that_was_lost_begins_nothing_twice() -> None:
    connections = 0

    async def handler(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    session = os.urandom(16)
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Share(HostPort("127.0.0.1", port), bytes(16)) as share:
            for turn in (1, 2, 3):
                answer, stream = await opened(share, "alice", wire.Carry(session, turn))
                assert answer.code == 0
                stream.reset()
        assert connections == 1


async def test_stopping_the_opener_resets_the_service_at_once() -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listener(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")
        try:
            await reader.read(-1)
            ended.set_result("complete")
        except ConnectionResetError:
            ended.set_result("reset")

    async with Tunnel(listener) as tunnel, connected(tunnel) as (reader, _writer):
        await reader.readexactly(1)
        tunnel.serving.cancel()
        async with asyncio.timeout(2):
            assert await ended == "reset"


async def test_a_dead_target_is_told_in_a_sentence() -> None:
    async with Tunnel(echo, down=RELAYS) as tunnel:
        with pytest.raises(NotThere, match="the sharer is not there; check that `share` still runs") as failed:
            await tunnel.opener.reach()
        assert len(failed.value.tried) == len(RELAYS)
