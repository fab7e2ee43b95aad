"""When a client's ways race each other, which of them wins, and after how long: `client.race` without a clock.

That runs the attempts of a node and needs an event loop; this computes what it would come to, when it is known how each
attempt would end. The tests let both run the same races.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from towpath.client.race import HEAD_START_S, NEXT_TIER_S

__all__ = ["Attempt", "Outcome", "race"]

W = TypeVar("W")


class Attempt:
    """How an attempt ends: after how many seconds, and does it lead there?"""

    __slots__ = ("leads", "seconds")

    def __init__(self, seconds: float, leads: bool) -> None:
        self.seconds = seconds
        self.leads = leads


class Outcome:
    """The seconds until the race was decided, and which way won: of which tier, at which place in it; or None."""

    __slots__ = ("seconds", "winner")

    def __init__(self, seconds: float, winner: tuple[int, int] | None) -> None:
        self.seconds = seconds
        self.winner = winner


def race(
    tiers: Sequence[Sequence[W]], attempt: Callable[[W], Attempt], least: Callable[[W], float] | None = None
) -> Outcome:
    """What becomes of ways in tiers. `attempt` is asked of those that are begun, in that order.

    `least` tells how long a way takes at least: those are not asked then that cannot win any more.
    """
    if not tiers or not tiers[0]:
        return _race(tiers, attempt)
    first = attempt(tiers[0][0])
    if first.leads and first.seconds <= NEXT_TIER_S and _is_first(first.seconds, tiers[0], least):
        return Outcome(first.seconds, (0, 0))
    told = iter((first,))
    return _race(tiers, lambda way: next(told, None) or attempt(way))


def _is_first(seconds: float, ways: Sequence[W], least: Callable[[W], float] | None) -> bool:
    # Is what leads after so many seconds there before any other way of its tier can be?
    for place in range(1, len(ways)):
        begins = place * HEAD_START_S
        if seconds <= begins:
            break
        if least is None or begins + least(ways[place]) <= seconds:
            return False
    return True


def _race(tiers: Sequence[Sequence[W]], attempt: Callable[[W], Attempt]) -> Outcome:
    best = Outcome(float("inf"), None)
    begins = 0.0
    over = 0.0
    losing: list[float] = []
    for number, ways in enumerate(tiers):
        if begins >= best.seconds:
            break
        lost, best = _tier(number, ways, attempt, begins, best)
        losing.append(lost)
        over = max(over, lost)
        # The next begins when its turn comes, or when any of those before it has failed as a whole.
        soon = min(end for end in losing if end >= begins)
        if soon <= begins + NEXT_TIER_S:
            losing.remove(soon)
        begins = min(begins + NEXT_TIER_S, soon)
    return best if best.winner is not None else Outcome(over, None)


def _tier(
    number: int, ways: Sequence[W], attempt: Callable[[W], Attempt], begins: float, best: Outcome
) -> tuple[float, Outcome]:
    # When this tier has failed as a whole (inf: never), and the best of all so far.
    failing: list[float] = []
    last = 0.0
    free_at = begins
    ends = begins
    leads = False
    for place, way in enumerate(ways):
        at = free_at
        if place:
            # The next begins when its turn comes, or as soon as one before it has failed.
            soon = [end for end in failing if end >= last]
            if soon and min(soon) < at:
                at = min(soon)
                failing.remove(at)
        if at >= best.seconds:
            return float("inf"), best
        last, free_at = at, at + HEAD_START_S
        tried = attempt(way)
        end = at + tried.seconds
        if tried.leads:
            leads = True
            if end < best.seconds:
                best = Outcome(end, (number, place))
        else:
            failing.append(end)
            ends = max(ends, end)
    return (float("inf") if leads else ends), best
