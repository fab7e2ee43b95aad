"""The queue guard at work on loopback, with a policy that says what the test wants said."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.unit.native.pair import Pair, pair
from towpath._native.session import Session
from towpath.relay.queue_guard import Decision, QueueGuard, Sample
from towpath.relay.queue_guard_task import INTERVAL_S, LOW_EFFORT, QUIET_S, Guard

MIB = 1 << 20
FREE = Decision(None, {}, {}, "")


class Says(QueueGuard):
    """Decides as told."""

    def __init__(self) -> None:
        self.decision = FREE
        self.samples: list[Sample] = []
        self.asked = 0
        self.asked_now = asyncio.Event()

    def decide(self, now: float, samples: Sequence[Sample], first_hop: float | None = None) -> Decision:
        self.samples += samples
        self.asked += 1
        self.asked_now.set()
        return self.decision

    async def next(self) -> None:
        """What was said last has been carried out."""
        self.asked_now.clear()
        await self.asked_now.wait()


@dataclass
class Told:
    """What the guard told the budget, and its owner."""

    says: Says = field(default_factory=Says)
    slowed: list[tuple[Session, float | None]] = field(default_factory=list)
    lines: list[tuple[float | None, str]] = field(default_factory=list)
    cap: float | None = None

    def slow(self, session: Session, bytes_per_second: float | None) -> None:
        self.slowed.append((session, bytes_per_second))

    def guard(self, both: Pair, *, loopback: bool = True) -> Guard:
        guard = Guard(
            both.here,
            self,
            lambda: self.cap,
            lambda rate, why: self.lines.append((rate, why)),
            loopback=loopback,
            policy=lambda: self.says,
        )
        guard.start()
        return guard


async def moving(both: Pair, session: Session) -> asyncio.Task[None]:
    async def run() -> None:
        while True:
            await both.through(session, 64 << 10)

    return asyncio.create_task(run())


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def slowing(session: Session) -> Decision:
    return Decision(None, {session: 2.0 * MIB}, {}, "")


async def test_it_samples_while_bytes_move_and_rests_when_none_do() -> None:
    async with pair() as both:
        told = Told()
        told.guard(both)
        session = await both.connect()
        await asyncio.sleep(3 * INTERVAL_S)
        assert told.says.asked == 0
        await both.through(session, MIB)
        await told.says.next()
        assert {s.key for s in told.says.samples} == {session}
        await asyncio.sleep(QUIET_S + 3 * INTERVAL_S)
        asked = told.says.asked
        await asyncio.sleep(3 * INTERVAL_S)
        assert told.says.asked == asked <= (QUIET_S + 5 * INTERVAL_S) / INTERVAL_S
        await both.through(session, MIB)
        await told.says.next()


async def test_sockets_to_this_machine_itself_are_no_line() -> None:
    async with pair() as both:
        told = Told()
        told.guard(both, loopback=False)
        session = await both.connect()
        await both.through(session, MIB)
        await told.says.next()
        assert told.says.samples == []


async def test_a_slowed_socket_is_paced_and_free_again_when_the_guard_stops() -> None:
    async with pair() as both:
        told = Told()
        guard = told.guard(both)
        session = await both.connect()
        await both.through(session, MIB)
        told.says.decision = slowing(session)
        await told.says.next()
        assert guard.slowed == 1
        slowly = await both.through(session, MIB)
        assert slowly > 0.35
        guard.stop()
        assert guard.slowed == 0
        assert await both.through(session, MIB) < slowly / 3


async def test_it_goes_on_while_somebody_is_slowed_though_nothing_moves() -> None:
    async with pair() as both:
        told = Told()
        guard = told.guard(both)
        session = await both.connect()
        await both.through(session, MIB)
        told.says.decision = slowing(session)
        await asyncio.sleep(QUIET_S + 3 * INTERVAL_S)
        told.says.decision = FREE
        await told.says.next()
        assert guard.slowed == 0


async def test_receiving_is_slowed_by_the_budget_and_small_changes_are_kept_from_it() -> None:
    async with pair() as both:
        told = Told()
        guard = told.guard(both)
        session = await both.connect()
        task = await moving(both, session)
        for rate in (1000.0, 1010.0, 1100.0):
            told.says.decision = Decision(None, {}, {session: rate}, "")
            await told.says.next()
        guard.stop()
        await end(task)
        assert told.slowed == [(session, 1000.0), (session, 1100.0), (session, None)]


async def test_the_owner_is_told_the_lines_rate_when_it_is_below_what_holds_anyway() -> None:
    async with pair() as both:
        told = Told(cap=5000.0)
        guard = told.guard(both)
        task = await moving(both, await both.connect())
        for rate in (9000.0, 4000.0, 4010.0, 2000.0):
            told.says.decision = Decision(rate, {}, {}, "full")
            await told.says.next()
        assert guard.line_rate == 2000.0
        told.says.decision = FREE
        await told.says.next()
        await end(task)
        guard.stop()
        assert told.lines == [(4000.0, "full"), (2000.0, "full"), (None, "")]


async def test_packets_are_marked_as_lower_effort_from_start_to_stop() -> None:
    async with pair() as both:
        guard = Told().guard(both)
        await both.connect()
        assert sorted(both.marks(socket.AF_INET)) == [0, LOW_EFFORT]
        guard.stop()
        assert set(both.marks(socket.AF_INET)) == {0}


async def test_a_session_that_ended_meanwhile_needs_no_care() -> None:
    async with pair() as both:
        told = Told()
        guard = told.guard(both)
        session = await both.connect()
        await both.through(session, MIB)
        told.says.decision = slowing(session)
        await told.says.next()
        session.abort()
        told.says.decision = FREE
        await told.says.next()
        assert guard.slowed == 0
