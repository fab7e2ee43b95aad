"""What the line watch tells of real sockets on loopback, how a socket is paced, and how packets are marked."""

import socket

import pytest

from tests.unit.native.pair import pair
from towpath._native.linequality import LineWatch, pace

KIB = 1 << 10
MIB = 1 << 20
LOW_EFFORT = 4


async def test_a_socket_is_sampled_once_for_what_it_moved_and_a_quiet_one_never() -> None:
    async with pair() as both:
        watch = LineWatch(both.here)
        watch.start()
        busy, _ = await both.connect(), await both.connect()
        await both.through(busy, 256 * KIB)
        rows = watch.sample()
        assert [row[0] for row in rows] == [busy]
        _, prefix, rtt, least, _, _, _, elapsed = rows[0]
        assert prefix == bytes([127, 0, 0])
        assert 0 < least <= rtt
        assert elapsed == 0.0
        assert watch.sample() == []
        await both.through(busy, 256 * KIB)
        ((_, _, _, _, _, sent, received, elapsed),) = watch.sample()
        assert 256 * KIB < received < 300 * KIB
        assert sent >= 200 * KIB  # the last bytes may not be acknowledged yet
        assert elapsed > 0


async def test_the_watch_tells_when_bytes_begin_to_move_and_only_then() -> None:
    async with pair() as both:
        watch = LineWatch(both.there)
        told: list[int] = []
        watch.on_moving = lambda: told.append(1)
        watch.start()
        sessions = [await both.connect() for _ in range(3)]
        assert not told
        for session in sessions:
            await both.through(session, 64 * KIB)
        assert len(told) == 1
        assert len(watch.sample(2)) == 2
        assert len(watch.sample(2)) == 1
        await both.through(sessions[0], 64 * KIB)
        assert len(told) == 2


async def test_a_watch_takes_up_connections_there_are_and_lets_go_of_them() -> None:
    async with pair() as both:
        session = await both.connect()
        watch = LineWatch(both.here)
        watch.start()
        await both.through(session, 64 * KIB)
        assert len(watch.sample()) == 1
        watch.stop()
        await both.through(session, 64 * KIB)
        assert watch.sample() == []
        watch.start()
        await both.through(session, 64 * KIB)
        session.abort()
        assert watch.sample() == []


async def test_a_paced_socket_sends_no_faster_until_it_is_free_again() -> None:
    async with pair() as both:
        session = await both.connect()
        await both.through(session, MIB)
        at_its_pace = 0.35
        assert pace(session, 2 * MIB)
        assert await both.through(session, MIB) > at_its_pace
        assert pace(session, None)
        # The machine may be slow for a while, the pace would be for good.
        assert min([await both.through(session, MIB) for _ in range(5)]) < at_its_pace


async def test_a_closed_session_has_no_pace() -> None:
    async with pair() as both:
        session = await both.connect()
        session.abort()
        assert not pace(session, MIB)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_marks_are_on_an_endpoints_own_sockets_while_they_are_wanted(host: str, family: int) -> None:
    async with pair(host) as both:
        await both.connect()
        both.there.set_traffic_class(LOW_EFFORT)
        await both.connect()
        await both.through(await both.connect(), KIB)
        assert sorted(both.marks(family)) == [0, 0, 0, LOW_EFFORT, LOW_EFFORT, LOW_EFFORT]
        both.there.set_traffic_class(0)
        await both.through(await both.connect(), KIB)
        assert set(both.marks(family)) == {0}
