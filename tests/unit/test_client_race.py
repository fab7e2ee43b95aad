"""Ways tried side by side: who begins when, who wins, and what is left when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.nodes import until
from towpath.client.race import Lost, Race, Tier
from towpath.errors import DialError


class Ways:
    """Attempts by name: `fails` at once, `hangs` until cancelled, `leads` at once; or as soon as an event is set."""

    def __init__(self, **when: asyncio.Event) -> None:
        self.begun: list[tuple[str, float]] = []
        self.ended: list[str] = []
        self._when = when
        self._start = asyncio.get_running_loop().time()

    async def attempt(self, way: str) -> str:
        self.begun.append((way, asyncio.get_running_loop().time() - self._start))
        try:
            if way in self._when:
                await self._when[way].wait()
            if way.startswith("hangs"):
                await asyncio.Event().wait()
            if way.startswith("fails"):
                raise DialError(f"{way} leads nowhere")
            return way
        finally:
            self.ended.append(way)

    def at(self, way: str) -> float:
        """When it began, in seconds."""
        return next(at for name, at in self.begun if name == way)


async def of(*ways: str) -> AsyncIterator[str]:
    for way in ways:
        yield way


def race(ways: Ways, head_start: float = 0.05, next_tier: float = 0.2) -> Race[str, str]:
    return Race(ways.attempt, head_start=head_start, next_tier=next_tier)


async def test_the_first_that_leads_there_wins_and_nothing_else_is_begun() -> None:
    ways = Ways()
    assert await race(ways).run([Tier(of("leads", "hangs"))]) == "leads"
    assert [name for name, _ in ways.begun] == ["leads"]


async def test_the_next_way_begins_beside_one_that_is_silent_and_at_once_after_one_that_failed() -> None:
    ways = Ways()
    assert await race(ways, head_start=0.3).run([Tier(of("hangs", "fails", "leads"))]) == "leads"
    assert 0.28 <= ways.at("fails") < 0.6
    assert ways.at("leads") - ways.at("fails") < 0.2
    assert sorted(ways.ended) == ["fails", "hangs", "leads"]


async def test_the_next_tier_begins_when_the_former_failed() -> None:
    ways = Ways()
    assert await race(ways, next_tier=60).run([Tier(of("fails", "fails too")), Tier(of("leads"))]) == "leads"


async def test_the_next_tier_begins_beside_one_that_is_silent_for_long_which_may_still_win() -> None:
    first = asyncio.Event()
    ways = Ways(leads=first)

    async def second() -> AsyncIterator[str]:
        first.set()
        yield "hangs"

    assert await race(ways).run([Tier(of("leads")), Tier(second())]) == "leads"
    assert ways.at("hangs") >= 0.18
    assert sorted(ways.ended) == ["hangs", "leads"]


async def test_a_tier_that_is_to_be_alone_waits_for_the_end_of_all_before() -> None:
    slow = asyncio.Event()
    ways = Ways(**{"fails slowly": slow})
    running = asyncio.ensure_future(
        race(ways, next_tier=0.01).run([Tier(of("fails slowly")), Tier(of("leads"), alone=True)])
    )
    await asyncio.sleep(0.1)
    assert [name for name, _ in ways.begun] == ["fails slowly"]
    slow.set()
    assert await running == "leads"


async def test_without_a_way_that_leads_there_each_ones_failure_is_told() -> None:
    ways = Ways()
    with pytest.raises(Lost) as caught:
        await race(ways).run([Tier(of("fails 1", "fails 2")), Tier(of()), Tier(of("fails 3"), alone=True)])
    assert [(way, str(error)) for way, error in caught.value.failures] == [
        (f"fails {n}", f"fails {n} leads nowhere") for n in (1, 2, 3)
    ]


async def test_cancelling_ends_every_attempt_before_it_returns() -> None:
    ways = Ways()
    running = race(ways, head_start=0.01, next_tier=0.01)
    task = asyncio.ensure_future(running.run([Tier(of("hangs 1", "hangs 2")), Tier(of("fails", "hangs 3"))]))
    await until(lambda: len(ways.begun) == 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ways.ended) == ["fails", "hangs 1", "hangs 2", "hangs 3"]
    assert sorted(running.under_way.values()) == ["hangs 1", "hangs 2", "hangs 3"]
    assert [way for way, _ in running.failures] == ["fails"]
    assert len(asyncio.all_tasks()) == 1


async def test_ways_that_are_still_looked_for_hold_nobody_up() -> None:
    ways = Ways()

    async def looked_for() -> AsyncIterator[str]:
        yield "fails"
        await asyncio.Event().wait()
        yield "never"

    assert await race(ways).run([Tier(looked_for()), Tier(of("leads"))]) == "leads"
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_of_the_program_itself_is_no_failed_way() -> None:
    async def broken(way: str) -> str:
        raise ValueError(way)

    with pytest.raises(ValueError, match="one"):
        await Race(broken).run([Tier(of("one"))])
