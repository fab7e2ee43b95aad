"""The relaying of one node: when it relays, whom it admits, what it has relayed. Owns the relay identity's HOP service.

What decides is pure and elsewhere (`modes`, `weekly`, `admission`, `rate`); this carries it out on the loop's thread,
and tells the owner and the clients of every change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from towpath._native.budget import Budget
from towpath.credits.policy import Load, share
from towpath.host import sources
from towpath.host.sources import Makers, Source, needed
from towpath.log import get_logger
from towpath.own_traffic import OwnTraffic
from towpath.relay.admission import Admission, Barred
from towpath.relay.interpreter import hasten, relax
from towpath.relay.modes import FOREVER, START, Action, Cause, Kind, Now, Position, State, Wishes, step
from towpath.relay.rate import InForce, in_force, of_setting
from towpath.relay.refusals import Refusals
from towpath.relay.spending import COUNTED, Spending
from towpath.relay.weekly import Hour, hour_at
from towpath.relaystream.reasons import Reason
from towpath.relaystream.relay import Facts, Quota, RelaySide

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath.credits.billing import Billing
    from towpath.credits.gate import Gate
    from towpath.events import EventHub
    from towpath.host.upload import UploadWatch
    from towpath.relay.queue_guard_task import Guard
    from towpath.relaystream.answering import Answers
    from towpath.settings import RelaySettings, Settings
    from towpath.store import Store

__all__ = ["RelayService", "real_time"]

_PAUSE: Final = "relay.pause"
_BEST_UPLOAD: Final = "line.best_upload"
_REST_S: Final = 30.0
"""How long the service sleeps at most: clocks are set and machines suspended meanwhile."""
_DRAIN_S: Final = 0.5
"""How often a draining relay looks for circuits that were only under way: of their failing nobody is told."""
_SETTLE_S: Final = 1.0
"""What clients get to sign for the rest when the node ends."""
_SAYS: Final = {
    State.OFF: "Not relaying",
    State.WAITING: "Waiting to relay",
    State.RELAYING: "Relaying",
    State.DRAINING: "About to stop relaying",
    State.PAUSED: "Paused",
}
_REASONS: Final = {
    Kind.MODE: Reason.MODE,
    Kind.STOPPING: Reason.STOPPING,
    Kind.PAUSED: Reason.PAUSED,
    Kind.SCHEDULE: Reason.SCHEDULE,
    Kind.QUOTA: Reason.QUOTA,
}
"""What clients are told; all else is the owner's own business."""
_log = get_logger("relay")


def real_time() -> Now:
    """The machine's clocks."""
    return Now(time.monotonic(), time.time())


class RelayService:
    """Relays on `endpoint` as the settings, the owner and the machine allow.

    `tell_addresses()` is called when HOP is offered: reservations name them. `peer` is the endpoint of the owner's own
    streams, on which the line's upload is seen. `makers` make the sources of `host`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        events: EventHub,
        store: Store,
        tell_addresses: Callable[[], None],
        peer: Endpoint | None = None,
        *,
        makers: Makers | None = None,
        clock: Callable[[], Now] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._events = events
        self._store = store
        self._tell_addresses = tell_addresses
        self._makers = sources.of_this_machine() if makers is None else makers
        self._clock = real_time if clock is None else clock
        self._sources: dict[str, Source] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._hour = Hour()
        self._effective = settings
        self._position = START
        self._since = self._clock().wall
        self._paused_until = _read_pause(store.get(_PAUSE))
        self._stopping: float | None = None
        self._settling = False
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._refusals = Refusals(events.publish)
        self._policy = Admission(settings.relay)
        self._side: RelaySide | None = None
        self.answers: Callable[[str], Answers] | None = None
        """What answers look-ups from an IP address, and takes clients' records; to be set before `start`."""
        self.billing: Billing | None = None
        """Who asks senders for receipts; to be set before `start`."""
        self.gate: Gate | None = None
        """What credits say to circuits; to be set before `start`."""
        self.on_state: Callable[[], None] = lambda: None
        """Called behind each change of the state, for who else goes by it."""
        self._guard: Guard | None = None
        self._guard_rate: float | None = None
        self._peer = peer
        self._upload: UploadWatch | None = None
        self._best_upload = _read_rate(store.get(_BEST_UPLOAD))
        budget = Budget(endpoint.reactor)
        endpoint.set_budget(budget)
        self._budget = budget
        self._own = OwnTraffic(endpoint.reactor, budget, store)
        self._spending = Spending(budget, store, settings.relay, self.update, self._emptied)

    async def start(self) -> None:
        """Begins to count and, when that is safe, to relay."""
        await self._spending.start()
        self._own.start()
        self.apply(self._settings)

    # --- wishes --------------------------------------------------------------------------------

    def apply(self, settings: Settings) -> None:
        """Goes by these settings from now on."""
        self._settings = self._effective = settings
        self._hour = Hour()
        self._choose_sources()
        self._spending.set_limits(settings.relay)
        self._admit_by(settings.relay)
        self.update()
        self._watch_the_line()

    async def pause(self, until: float | None) -> None:
        """Relays nothing until then (Unix time; None: until `resume`), this process and the next ones."""
        self._paused_until = FOREVER if until is None else until
        self.update()
        await self._store.save(_PAUSE, {"until": until})

    async def resume(self) -> None:
        """Ends a pause."""
        self._paused_until = None
        self.update()
        await self._store.save(_PAUSE, None)

    async def drain(self, grace: float) -> None:
        """Takes nobody new for good; returns when no circuit is open, after `grace` seconds at most."""
        self._stopping = grace
        self._settling = self.billing is not None
        self.update()
        while self._position.state is State.DRAINING:
            self._changed.clear()
            await self._changed.wait()
        if self.billing is not None:
            await self.billing.settle(_SETTLE_S)
        self._settling = False
        self._serve_clients()

    def end(self) -> None:
        """Ends relaying at once, circuits and all, for good."""
        self._stopping = 0.0
        self._settling = False
        self.update()

    async def close(self) -> None:
        """Lets go of what else it holds, after `end`."""
        for task in list(self._starting):
            task.cancel()
        for kind in list(self._sources):
            await self._sources.pop(kind).stop()
        self._own.stop()
        await self._spending.close()

    # --- the machine ---------------------------------------------------------------------------

    def update(self) -> None:
        """Looks anew at everything that decides, and acts. Called whenever something changed, and by its own timer."""
        before, now = self._position, self._clock()
        self._look_at_the_hour(now)
        self._spending.set_rate(self.rate)
        at, actions = step(before, self._wishes(), now)
        self._position = at
        if at.state is not before.state:
            self._since = now.wall
        self._serve_clients()
        if Action.OFFER in actions:
            self._offer()
        if Action.WITHDRAW in actions:
            self._endpoint.offer_relaying(False)
            self._endpoint.push_identify()
        if (at.state, at.admitting, at.cause and at.cause.kind) != (
            before.state,
            before.admitting,
            before.cause and before.cause.kind,
        ):
            self._tell_clients(now)
        if Action.CLOSE in actions:
            self._close()
        if at.state is not before.state or (at.why != before.why and at.state is not State.OFF):
            self._tell(before)
        if (at.state, at.admitting) != (before.state, before.admitting):
            self.on_state()
        self._changed.set()
        self._sleep(now)

    def _emptied(self) -> None:
        if self._position.state is State.DRAINING:
            asyncio.get_running_loop().call_soon(self.update)

    def _look_at_the_hour(self, now: Now) -> None:
        hour = hour_at(self._settings.relay.schedule, now.wall)
        if hour.mode is not self._hour.mode:
            # Limits that nobody set are those of the mode.
            wanted = self._settings
            if hour.mode is not None and self._settings.relay.mode.relays:
                wanted = wanted.changed({"relay.mode": str(hour.mode)}, source="relay.schedule")
            self._effective = wanted
            self._spending.set_limits(wanted.relay)
            self._admit_by(wanted.relay)
        self._hour = hour

    def _admit_by(self, relay: RelaySettings) -> None:
        barred = self._policy.barred
        self._policy = Admission(relay, self.refused, self.gate)
        self._policy.barred = barred
        if self._endpoint.relay is not None:
            self._endpoint.relay.policy = self._policy

    def refused(self, *why: Any, **more: Any) -> None:
        """Tells the owner, and a peer, what is refused to it or ended; takes what RelaySide.refused does."""
        self._refusals.note(*why, **more)
        if self._side is not None:
            self._side.refused(*why, **more)

    def _wishes(self) -> Wishes:
        relay = self._settings.relay
        grace = FOREVER if relay.drain_grace is None else relay.drain_grace
        return Wishes(
            relays=relay.mode.relays,
            paused_until=self._paused_until,
            blocked=tuple(self._causes()),
            scarce=self._spending.scarce(),
            stopping=self._stopping is not None,
            circuits=self.circuits_now + (self._endpoint.relay.connecting if self._endpoint.relay is not None else 0),
            grace=grace if self._stopping is None else self._stopping,
        )

    def _causes(self) -> list[Cause]:
        spent = self._spending.spent()
        found = [] if spent is None else [spent]
        if not self._hour.relays:
            found.append(Cause(Kind.SCHEDULE, "relay.schedule says not at this hour", self._hour.until))
        for kind, source in self._sources.items():
            verdict = source.verdict()
            if verdict.blocks:
                found.append(Cause(Kind(kind), verdict.why))
        return found

    def _offer(self) -> None:
        if self._endpoint.relay is None:
            relay = self._endpoint.start_relaying(self._policy)
            self._spending.follow(relay)
            if self.billing is not None:
                self.billing.follow(relay)
            if self.gate is not None:
                self._spending.on_circuit_ended = self.gate.ended
                self.gate.follow(relay)
            hasten()
        else:
            self._endpoint.offer_relaying(True)
        self._tell_addresses()
        self._endpoint.push_identify()
        self._watch_the_line()

    def _close(self) -> None:
        if self._endpoint.relay is None:
            return
        self._endpoint.stop_relaying()
        self._spending.follow(None)
        if self.billing is not None:
            self.billing.follow(None)
        if self.gate is not None:
            self.gate.follow(None)
        if self._position.state is State.OFF:
            self._end_side()
        relax()
        self._watch_the_line()
        self._endpoint.push_identify()

    def _serve_clients(self) -> None:
        # With relay mode on, also while nothing is offered: whoever comes then is told why, and until when.
        off = self._position.state is State.OFF
        if off and self._endpoint.relay is None:
            self._end_side()
        elif not off and self._side is None:
            self._side = RelaySide(self._endpoint, self._facts, answers=self.answers, billing=self.billing)
            self._admit_by(self._effective.relay)
        if self._side is not None:
            self._side.allowance()

    def _end_side(self) -> None:
        # Behind the last receipts, when there is time for them.
        if self._side is not None and not self._settling:
            self._side.close()
            self._side = None

    def _tell_clients(self, now: Now) -> None:
        at, side = self._position, self._side
        if at.cause is None:
            self._policy.barred = None
            if side is not None:
                side.staying()
            return
        code = _REASONS.get(at.cause.kind, Reason.RESTING)
        barred = Barred(code, at.cause.until)
        row = self._spending.scarcest() if code is Reason.QUOTA else None
        if row is not None:
            barred = Barred(code, at.cause.until, row["period"], max(0, row["limit"] - row["used"]), row["limit"])
        self._policy.barred = barred
        if side is not None:
            ends = None if at.state is State.RELAYING else at.until if at.state is State.DRAINING else now.wall
            side.moving_out(ends, code, at.cause.until)

    def _facts(self) -> Facts:
        rows = [row for row in self._spending.rows() if row["limit"] is not None]
        quotas = tuple(Quota(r["period"], r["limit"], max(0, r["limit"] - r["used"]), r["resets_at"]) for r in rows)
        # The owner's rate: what the line takes at the moment is nobody else's business.
        rate = self._owners_rate().rate
        return Facts(quotas, None if rate is None else round(rate))

    # --- the line ------------------------------------------------------------------------------

    def _watch_the_line(self) -> None:
        wanted = self._settings.relay.queue_guard and self._endpoint.relay is not None
        if wanted and self._guard is None:
            # Loaded only by a node that relays.
            from towpath.relay.queue_guard_task import Guard

            self._guard = Guard(self._endpoint, self._budget, lambda: self._owners_rate().rate, self._slowed)
            self._guard.start()
        elif not wanted and self._guard is not None:
            self._guard.stop()
            self._guard = None
        auto = self._effective.relay.max_rate == "auto" and self._endpoint.relay is not None
        if auto and self._upload is None and self._peer is not None:
            from towpath.host.upload import UploadWatch

            public = self._settings.network.public_ranges
            self._upload = UploadWatch(
                self._peer, self._best_upload or 0.0, lambda: self._budget.sent, self._uploaded, public=public
            )
            self._upload.start()
        elif not auto and self._upload is not None:
            self._upload.stop()
            self._upload = None

    def _uploaded(self, rate: float) -> None:
        self._best_upload = rate
        self._store.put(_BEST_UPLOAD, rate)
        self._spending.set_rate(self.rate)

    def _slowed(self, rate: float | None, why: str) -> None:
        self._guard_rate = rate
        _log.debug("line_rate", rate=rate, why=why)
        self._spending.set_rate(self.rate)

    def _owners_rate(self) -> InForce:
        return in_force(of_setting(self._effective.relay.max_rate, self._best_upload), self._hour.rate, None)

    def _tell(self, before: Position) -> None:
        at = self._position
        _log.info("relay_state", state=str(at.state), why=at.why, before=str(before.state), until=at.until)
        facts = {"state": str(at.state), "why": at.why, "until": at.until, "before": str(before.state)}
        self._events.publish("relay_state", f"{_SAYS[at.state]}: {at.why}", **facts)

    def _sleep(self, now: Now) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopping is not None and self._position.state is not State.DRAINING:
            return
        wait = _REST_S
        for until in (self._position.until, self._hour.until):
            if until is not None:
                # Never twice in one turn of a clock that ticks coarsely.
                wait = min(wait, max(0.01, until - now.wall))
        if self._position.state is State.DRAINING:
            wait = min(wait, _DRAIN_S)
        self._timer = asyncio.get_running_loop().call_later(wait, self.update)

    # --- sources -------------------------------------------------------------------------------

    def _choose_sources(self) -> None:
        wanted = needed(self._settings.relay)
        for kind in self._sources.keys() - wanted:
            self._spawn(self._sources.pop(kind).stop())
        for kind in sorted(wanted - self._sources.keys()):
            source = self._sources[kind] = self._makers[kind]()
            self._spawn(source.start(self.update))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    # --- what is going on ----------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self._position

    @property
    def circuits_now(self) -> int:
        """How many circuits are open."""
        relay = self._endpoint.relay
        return len(relay.circuits) if relay is not None else 0

    @property
    def rate(self) -> InForce:
        """The rate in force."""
        return in_force(self._owners_rate(), None, self._guard_rate)

    @property
    def owners_rate(self) -> float | None:
        """The rate that the owner allows, whatever the line takes; None: any."""
        return self._owners_rate().rate

    @property
    def side(self) -> RelaySide | None:
        """What talks to clients, while there is anything to say."""
        return self._side

    def load(self) -> Load:
        """What is in use of each thing that can run out."""
        relay, limits, rate = self._endpoint.relay, self._effective.relay, self.rate.rate
        return Load(
            share(max(self._spending.rate_now), rate),
            share(0 if relay is None else len(relay.circuits) + relay.connecting, limits.max_circuits),
            share(0 if relay is None else len(relay.reservations), limits.max_reservations),
            self._spending.used(),
        )

    def quota_left(self) -> tuple[int, float] | None:
        """Bytes that are left of the owner's quota, and until when; None: no quota is set."""
        return self._spending.left()

    def status(self) -> dict[str, Any]:
        """The relay's part of the node's status."""
        relay = self._endpoint.relay
        budget = self._spending.rows()
        today = self._store.today()
        return {
            "mode": str(self._settings.relay.mode),
            "state": str(self._position.state),
            "why": self._position.why,
            "since": self._since,
            "until": self._position.until,
            "circuits_now": self.circuits_now,
            "reservations_now": len(relay.reservations) if relay is not None else 0,
            "circuits_today": today["circuits"],
            "bytes_relayed_today": today["relayed"],
            "bytes_relayed_total": self._spending.relayed,
            "budget": budget,
            "budget_counts": COUNTED,
        }

    def limits(self) -> dict[str, Any]:
        """What limits relaying, and how much of it is used: `budget` rows, the `rate` in force and the present one."""
        rate = self.rate
        received, sent = self._spending.rate_now
        own_received, own_sent = self._own.rate
        return {
            "budget": self._spending.rows(),
            "budget_counts": COUNTED,
            "rate": {
                "limit": rate.rate,
                "why": rate.why,
                "received": received,
                "sent": sent,
                "own_received": own_received,
                "own_sent": own_sent,
            },
        }


def _read_pause(kept: object) -> float | None:
    if not isinstance(kept, dict):
        return None
    until = kept.get("until")
    return float(until) if isinstance(until, int | float) else FOREVER


def _read_rate(kept: object) -> float | None:
    return float(kept) if isinstance(kept, int | float) and kept > 0 else None
