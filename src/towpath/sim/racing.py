"""When a client's ways race each other, which of them wins, and after how long: `client.race` without a clock.

That runs the attempts of a node and needs an event loop; this computes what it would come to, when it is known how each
attempt would end. The tests let both run the same races.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from towpath.client.race import HEAD_START_S, NEXT_TIER_S

__all__ = ["Attempt", "Outcome", "race"]

W = TypeVar("W")


class Attempt(NamedTuple):
    """How an attempt ends: after how many seconds, and does it lead there?"""

    seconds: float
    leads: bool


class Outcome(NamedTuple):
    """The seconds until the race was decided, and which way won: of which tier, at which place in it; or None."""

    seconds: float
    winner: tuple[int, int] | None


def race(tiers: Sequence[Sequence[W]], attempt: Callable[[W], Attempt]) -> Outcome:
    """What becomes of ways in tiers. `attempt` is asked only of those that are begun, in that order."""
    told: list[Attempt] = []
    best, winner = float("inf"), 0
    for place, way in enumerate(tiers[0] if tiers else ()):
        if place * HEAD_START_S >= best:
            break
        one = attempt(way)
        told.append(one)
        if not one.leads:
            # Others may begin sooner than in their turn: see below.
            return _race(tiers, _but(told, attempt))
        if place * HEAD_START_S + one.seconds < best:
            best, winner = place * HEAD_START_S + one.seconds, place
    if best <= NEXT_TIER_S:
        # It is there before the next tier begins.
        return Outcome(best, (0, winner))
    return _race(tiers, _but(told, attempt))


def _but(told: Sequence[Attempt], attempt: Callable[[W], Attempt]) -> Callable[[W], Attempt]:
    # What became of the ways that were begun is known, in the order in which they are.
    known = iter(told)
    return lambda way: next(known, None) or attempt(way)


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
        seconds, ok = attempt(way)
        if ok:
            leads = True
            if at + seconds < best.seconds:
                best = Outcome(at + seconds, (number, place))
        else:
            failing.append(at + seconds)
            ends = max(ends, at + seconds)
    return (float("inf") if leads else ends), best
