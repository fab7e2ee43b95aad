"""Standing reservations, with relays that take, refuse, stay silent and come up late."""

from __future__ import annotations

import asyncio

import pytest

from towpath.client.standing import GRACE, Standing
from towpath.errors import NoRelaysAvailable, ReservationRefused


class Relays:
    """Refuses as often as `refusals` says, -1 for ever; those in `silent` never answer."""

    def __init__(self, silent: set[str] = frozenset(), **refusals: int) -> None:  # type: ignore[assignment]
        self.silent = silent
        self.refusals = refusals
        self.asked: list[str] = []

    async def reserve(self, relay: str) -> None:
        self.asked.append(relay)
        if relay in self.silent:
            await asyncio.Event().wait()
        if self.refusals.get(relay, 0):
            self.refusals[relay] -= 1
            raise ReservationRefused(200, "RESERVATION_REFUSED")


async def test_all_relays_that_take_us_come_first() -> None:
    relays = Relays(b=-1)
    async with Standing(relays.reserve, ["b", "a", "c", "a"], wait=lambda _: 60.0) as standing:
        assert await standing.some(10) == ["a", "c", "b"]
        assert standing.held == ["a", "c"]
    assert relays.asked == ["b", "a", "c"]


async def test_one_that_stays_silent_does_not_hold_up_the_others() -> None:
    relays = Relays(silent={"b"})
    loop = asyncio.get_running_loop()
    before = loop.time()
    async with Standing(relays.reserve, ["a", "b"]) as standing:
        assert await standing.some(60) == ["a", "b"]
        assert loop.time() - before < 10 * GRACE


async def test_without_any_each_ones_answer_is_told() -> None:
    relays = Relays(silent={"b"}, a=-1)
    async with Standing(relays.reserve, ["a", "b"], wait=lambda _: 60.0) as standing:
        with pytest.raises(NoRelaysAvailable) as caught:
            await standing.some(0.05)
    assert caught.value.tried[0].startswith("a: the relay answered RESERVATION_REFUSED")
    assert caught.value.tried[1] == "b: no answer"


async def test_a_relay_that_refused_is_asked_again_with_growing_patience() -> None:
    relays = Relays(a=3)
    waits: list[int] = []
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def wait(failures: int) -> float:
        waits.append(failures)
        return 0.0

    async with Standing(relays.reserve, ["a"], told=told.set_result, wait=wait) as standing:
        assert await told == "a"
        assert standing.held == ["a"]
        assert standing.failures == {}
    assert waits == [1, 2, 3]


async def test_leaving_ends_the_asking() -> None:
    relays = Relays(silent={"a"}, b=-1)
    async with Standing(relays.reserve, ["a", "b"], wait=lambda _: 60.0):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
