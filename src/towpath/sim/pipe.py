"""What one relay carries at this moment: circuits that share its rate by weight, as the budget's round robin does.

A fluid model: between two changes every circuit moves at a constant rate, the largest for which nobody with the same
weight gets more unless it wants no more (weighted max-min fairness).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from towpath.sim.books import Who
    from towpath.sim.relays import Relay
    from towpath.sim.users import User

__all__ = ["Flow", "Pipe", "shares"]

_DONE: Final = 0.5
"""Bytes that are no bytes any more: half of one."""


class Flow:
    """One circuit with what it has to carry. `src` sends and pays."""

    __slots__ = (
        "begun",
        "cap",
        "done",
        "dst",
        "later",
        "left",
        "paid",
        "promised",
        "rate",
        "relay",
        "src",
        "total",
        "weight",
        "who",
    )

    def __init__(
        self, relay: Relay, src: User, dst: User, n: int, cap: float, weight: float, limit: int | None, now: float
    ) -> None:
        self.relay = relay
        self.src = src
        self.dst = dst
        self.who: Who = src.who()
        self.promised = 0
        """Bytes that the relay told it may carry, and keeps for it."""
        self.left = float(n)
        """Bytes still to be carried on this circuit."""
        self.later = 0
        """Bytes for which another circuit is needed, as this one has a limit."""
        if limit is not None:
            self.left, self.later, self.promised = float(min(n, limit)), max(0, n - limit), limit
        self.done = 0.0
        self.paid = 0
        """Whole bytes of `done` that were counted."""
        self.cap = cap
        """What its ends' lines, or its application, let it have."""
        self.weight = weight
        self.rate = 0.0
        self.begun = now
        self.total = n
        """Bytes that its sender wanted to send in all, over this circuit and those before it."""


def shares(rate: float, wants: Sequence[tuple[float, float]]) -> list[float]:
    """The rate of each of several flows (cap, weight) in a pipe of `rate`; together at most `rate`."""
    given = [cap for cap, _ in wants]
    if sum(given) <= rate:
        return given
    # Those that want least for their weight first: what they leave is the others'.
    order = sorted(range(len(wants)), key=lambda i: wants[i][0] / wants[i][1])
    left, weights = rate, sum(weight for _, weight in wants)
    for i in order:
        cap, weight = wants[i]
        part = min(cap, max(0.0, left) * weight / weights)
        given[i] = part
        left -= part
        weights -= weight
        if weights <= 0:
            break
    return given


class Pipe:
    """The circuits of one relay. Whoever changes it calls `move` first and `share` afterwards."""

    __slots__ = ("at", "flows", "in_use", "rate", "stopped")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        """Bytes per second, each way."""
        self.flows: list[Flow] = []
        self.at = now
        self.in_use = 0.0
        """Bytes per second that are carried now."""
        self.stopped = False
        """Nothing moves at all: there is nothing left of a quota."""

    def move(self, now: float) -> float:
        """Carries everything on, up to now; the bytes that were moved."""
        seconds = now - self.at
        self.at = now
        total = 0.0
        if seconds > 0:
            for flow in self.flows:
                moved = min(flow.left, flow.rate * seconds)
                flow.done += moved
                flow.left -= moved
                total += moved
        return total

    def share(self) -> float:
        """Gives every flow its rate; seconds until the first of them is through (inf: none ever will be)."""
        flows = self.flows
        if self.stopped:
            self.in_use = 0.0
            for flow in flows:
                flow.rate = 0.0
            return float("inf")
        used = 0.0
        for flow in flows:
            used += flow.cap
        if used <= self.rate:
            for flow in flows:
                flow.rate = flow.cap
        else:
            used = 0.0
            for flow, rate in zip(flows, shares(self.rate, [(f.cap, f.weight) for f in flows]), strict=True):
                flow.rate = rate
                used += rate
        self.in_use = used
        soonest = float("inf")
        for flow in flows:
            if flow.rate > 0:
                soonest = min(soonest, flow.left / flow.rate)
        return soonest

    def through(self) -> list[Flow]:
        """Takes those out that have carried everything."""
        done = [flow for flow in self.flows if flow.left <= _DONE]
        if done:
            self.flows = [flow for flow in self.flows if flow.left > _DONE]
        return done
