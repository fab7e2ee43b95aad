"""How users open circuits to each other, and what becomes of one whose relay goes: the node's ways, raced.

A circuit exists only at a relay that holds a reservation of the peer. The peer's relays are tried as its record lists
them, volunteers before bootstrap relays, those that hold a reservation of the dialer last, as it hides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from towpath.discovery.outcomes import Outcome
from towpath.sim.pipe import Accepted, Flow
from towpath.sim.racing import Attempt, race
from towpath.sim.relays import Relay

if TYPE_CHECKING:
    from towpath.sim.users import User
    from towpath.sim.world import World

__all__ = ["Circuits"]

_DIAL_S: Final = 5.0
"""How long a relay that says nothing is waited for."""
_RECORD_S: Final = 0.4
"""Looking the peer's record up, at a relay that answers from its cache or from the DHT."""
_NOTICED_S: Final = 3.5
"""How long a tunnel takes to give a silent circuit up (`client.tunnel.patience`)."""
_TRIES: Final = (1.0, 5.0, 20.0, 60.0)
"""Seconds between tries to go on elsewhere; behind the last of them it is broken."""


class Circuits:
    """Of one world. `on_end(flow, finished)` are told of each circuit that ended for good."""

    def __init__(self, world: World) -> None:
        self.world = world

    def open(self, src: User, dst: User, n: int, pace: float = 0.0) -> Flow | None:
        """A circuit over which `src` sends `n` bytes, at most `pace` a second (0: what the lines take); None: none."""
        metrics = self.world.metrics
        metrics.wanted += 1
        found = self._way(src, dst)
        if found is None:
            return None
        relay, accepted, seconds = found
        metrics.circuits += 1
        if relay.bootstrap:
            metrics.by_bootstrap += 1
        else:
            metrics.by_volunteers += 1
        metrics.felt(metrics.setup_s, seconds, self.world)
        cap = min(src.line.up, dst.line.down)
        flow = self._begin(relay, accepted, src, dst, n, min(cap, pace) if pace else cap, seconds)
        src.open += 1
        dst.open += 1
        return flow

    def _begin(
        self, relay: Relay, accepted: Accepted, src: User, dst: User, n: int, cap: float, seconds: float
    ) -> Flow:
        now = self.world.engine.now
        flow = Flow(relay, src, dst, n, cap, accepted.weight, accepted.limit, now + seconds)
        relay.carry_for(flow)
        if relay.behaviour is not None:
            relay.behaviour.carrying(relay, flow)
        return flow

    # --- finding a way -------------------------------------------------------------------------

    def _way(self, src: User, dst: User) -> tuple[Relay, Accepted, float] | None:
        world = self.world
        dst.settle()
        volunteers, bootstrap = dst.ways()
        seats = src.seats
        if len(volunteers) > 1:
            away = [relay for relay in volunteers if relay.id not in seats]
            volunteers = away + [relay for relay in volunteers if relay.id in seats]
        tiers = [tier for tier in (volunteers, bootstrap) if tier]
        answers: dict[bytes, Accepted] = {}

        def attempt(relay: Relay) -> Attempt:
            return self._attempt(relay, src, dst, answers)

        def least(relay: Relay) -> float:
            there, rtt = world.rtt(dst, relay), world.rtt(src, relay)
            return 3 * there + (3 if relay.id in seats else 6) * rtt

        outcome = race(tiers, attempt, least)
        if outcome.winner is not None:
            tier, place = outcome.winner
            relay = tiers[tier][place]
            if relay.id in src.known:
                src.note(relay.id, Outcome.SERVED, world.rtt(src, relay) * 1e3)
            return relay, answers[relay.id], _RECORD_S + outcome.seconds
        reasons = [answer.reason for answer in answers.values() if answer.reason is not None]
        metrics = world.metrics
        if reasons:
            metrics.refused += 1
            for reason in reasons:
                metrics.reasons[reason.name] = metrics.reasons.get(reason.name, 0) + 1
        else:
            metrics.no_way += 1
        return None

    def _attempt(self, relay: Relay, src: User, dst: User, answers: dict[bytes, Accepted]) -> Attempt:
        world = self.world
        if not relay.up:
            if relay.silent:
                src.note(relay.id, Outcome.FAILED)
                return Attempt(_DIAL_S, False)
            return Attempt(world.rtt(src, relay), False)
        rtt = world.rtt(src, relay)
        # TCP, Noise and the muxer, unless there is a connection; then CONNECT and its answer.
        seconds = rtt * (1 if relay.id in src.seats else 4)
        if dst.index not in relay.reservations:
            return Attempt(seconds, False)
        answer = relay.accept(src, dst)
        answers[relay.id] = answer
        if answer.reason is not None:
            src.note(relay.id, Outcome.REFUSED, rtt * 1e3)
            return Attempt(seconds, False)
        # STOP at the peer, and the handshake from end to end.
        there = world.rtt(dst, relay)
        return Attempt(seconds + there + 2 * (rtt + there), True)

    # --- what becomes of it --------------------------------------------------------------------

    def through(self, flow: Flow) -> None:
        """A circuit has carried what it was to carry."""
        if flow.later:
            # It had a limit: the rest goes over another one.
            self._go_on(flow, flow.later, self.world.engine.now, 0)
            return
        world, metrics = self.world, self.world.metrics
        metrics.finished += 1
        flow.src.open -= 1
        flow.dst.open -= 1
        took = world.engine.now - flow.begun
        if took > 0:
            metrics.felt(metrics.speed, min(1.0, flow.total / took / flow.cap), world)
        for told in world.on_end:
            told(flow, True)

    def cut(self, flow: Flow, *, silent: bool) -> None:
        """Its relay has gone, or has cut it."""
        world = self.world
        world.metrics.cut += 1
        wait = _NOTICED_S if silent else 0.1
        left = round(flow.left) + flow.later
        world.engine.after(wait, self._go_on, flow, left, world.engine.now, 0)

    def _go_on(self, flow: Flow, left: int, since: float, tries: int) -> None:
        world, src, dst = self.world, flow.src, flow.dst
        metrics = world.metrics
        cut = not flow.later or since < world.engine.now
        if left <= 0:
            flow.later = 0
            metrics.resumed += cut
            self.through(flow)
            return
        found = self._way(src, dst) if src.online and dst.online else None
        if found is not None:
            relay, accepted, seconds = found
            metrics.resumed += cut
            before = flow.relay
            if cut and relay is not before and (before.up or before.silent):
                # The peer was there all the time, and the relay did not say that it would end this.
                src.note(before.id, Outcome.FAILED)
                dst.note(before.id, Outcome.FAILED)
            if cut:
                metrics.felt(metrics.gap_s, world.engine.now - since + seconds, world)
            more = self._begin(relay, accepted, src, dst, left, flow.cap, 0.0)
            more.total, more.begun = flow.total, flow.begun
            return
        if tries < len(_TRIES) and src.online and dst.online:
            world.engine.after(_TRIES[tries], self._go_on, flow, left, since, tries + 1)
            return
        metrics.broken += 1
        src.open -= 1
        dst.open -= 1
        for told in world.on_end:
            told(flow, False)
