"""What one relay carries at this moment: circuits that share its rate by weight, as the budget's round robin does.

A fluid model: between two changes every circuit moves at a constant rate, the largest for which nobody with the same
weight gets more unless it wants no more (weighted max-min fairness).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from towpath.relaystream.reasons import Reason
    from towpath.sim.books import Who
    from towpath.sim.relays import Relay
    from towpath.sim.users import User

__all__ = ["Accepted", "Flow", "Pipe", "shares"]

_DONE: Final = 8.0
"""Bytes that are no bytes any more: what a clock that counts from 1970 cannot tell apart at the speed of a line."""


class Accepted(NamedTuple):
    """What a relay said to a circuit: yes, with weight and limit (None: none); or no, with the reason."""

    reason: Reason | None
    weight: float = 1.0
    limit: int | None = None


class Flow:
    """One circuit with what it has to carry. `src` sends and pays."""

    __slots__ = (
        "at",
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
        "size",
        "src",
        "total",
        "turn",
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
        self.size = self.left
        """Bytes that it may carry in all."""
        self.done = 0.0
        self.paid = 0
        """Whole bytes of `done` that were counted."""
        self.cap = cap
        """What its ends' lines, or its application, let it have."""
        self.weight = weight
        self.rate = 0.0
        self.at = now
        """Up to when it was carried on."""
        self.turn = 0
        """How often its rate was changed."""
        self.begun = now
        self.total = n
        """Bytes that its sender wanted to send in all, over this circuit and those before it."""

    def move(self, now: float) -> None:
        """Carries it on, up to now, at its rate."""
        seconds = now - self.at
        if seconds > 0:
            self.at = now
            moved = self.rate * seconds
            if moved > self.left:
                moved = self.left
            self.done += moved
            self.left -= moved

    def seconds(self) -> float:
        """How long it takes at its rate to carry what is left, or a little longer."""
        return self.left / self.rate + 1e-6

    @property
    def through(self) -> bool:
        """Has it carried everything?"""
        return self.left <= _DONE


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
    """The circuits of one relay. While together they want less than its rate none minds another; behind that all do.

    Whoever adds or removes one calls `elapse` before and `share` after that.
    """

    __slots__ = ("asked", "at", "flows", "full", "in_use", "rate", "size", "stopped", "weighed")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        """Bytes per second, each way."""
        self.flows: dict[Flow, None] = {}
        self.at = now
        self.asked = 0.0
        """Bytes per second that its circuits would take,"""
        self.in_use = 0.0
        """and those that they have."""
        self.size = 0.0
        """Bytes that they may carry in all, what they have carried included."""
        self.full = False
        """Do they want more than there is?"""
        self.weighed = False
        """Do those that want more than there is have the weights of those who pay for them?"""
        self.stopped = False
        """Nothing moves at all: there is nothing left of a quota."""

    def add(self, flow: Flow) -> None:
        """One more circuit."""
        self.flows[flow] = None
        self.asked += flow.cap
        self.size += flow.size

    def remove(self, flow: Flow) -> None:
        """One less."""
        del self.flows[flow]
        if self.flows:
            self.asked -= flow.cap
            self.size -= flow.size
        else:
            self.asked = self.size = 0.0

    def clear(self, now: float) -> list[Flow]:
        """All that were open, each carried on up to now; none is left."""
        flows = list(self.flows)
        for flow in flows:
            flow.move(now)
        self.flows.clear()
        self.asked = self.in_use = self.size = 0.0
        self.full = False
        return flows

    def elapse(self, now: float) -> float:
        """The bytes that were carried since this was asked last."""
        seconds, self.at = now - self.at, now
        return self.in_use * seconds if seconds > 0 else 0.0

    def share(self, now: float, new: Flow | None = None) -> list[Flow]:
        """Gives the circuits their rates; those whose rate is another one now. `new` is one that was just added."""
        full = self.stopped or self.asked > self.rate
        if not full and not self.full:
            self.in_use = self.asked
            if new is None:
                return []
            new.rate, new.at = new.cap, now
            return [new]
        self.full = full
        changed = list(self.flows)
        for flow in changed:
            flow.move(now)
        if self.stopped:
            rates = [0.0] * len(changed)
        else:
            rates = shares(self.rate, [(flow.cap, flow.weight) for flow in changed])
        for flow, rate in zip(changed, rates, strict=True):
            flow.rate = rate
        self.in_use = sum(rates)
        return changed
