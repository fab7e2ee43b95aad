"""The relaying of one node: when it relays, whom it admits, what it has relayed. Owns the relay identity's HOP service.

What decides is pure and elsewhere (`modes`, `weekly`, `admission`, `rate`); this carries it out on the loop's thread,
and tells the owner of every change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from towpath.host.sources import Makers, Source, needed, of_this_machine
from towpath.log import get_logger
from towpath.relay.admission import Admission
from towpath.relay.interpreter import hasten, relax
from towpath.relay.modes import FOREVER, START, Action, Cause, Kind, Now, Position, State, Wishes, step
from towpath.relay.rate import InForce, in_force, of_setting
from towpath.relay.weekly import Hour, hour_at

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath.events import EventHub
    from towpath.settings import RelaySettings, Settings
    from towpath.store import Store

__all__ = ["RelayService", "real_time"]

_PAUSE: Final = "relay.pause"
_REST_S: Final = 30.0
"""How long the service sleeps at most: clocks are set and machines suspended meanwhile."""
_DRAIN_S: Final = 0.05
"""How often a draining relay looks whether the last circuit ended; the native core tells nobody."""
_SAYS: Final = {
    State.OFF: "Not relaying",
    State.WAITING: "Waiting to relay",
    State.RELAYING: "Relaying",
    State.DRAINING: "About to stop relaying",
    State.PAUSED: "Paused",
}
_log = get_logger("relay")


def real_time() -> Now:
    """The machine's clocks."""
    return Now(time.monotonic(), time.time())


class RelayService:
    """Relays on `endpoint` as the settings, the owner and the machine allow.

    `tell_addresses()` is called when HOP is offered: reservations name them. `makers` make the sources of `host`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        events: EventHub,
        store: Store,
        tell_addresses: Callable[[], None],
        *,
        makers: Makers | None = None,
        clock: Callable[[], Now] = real_time,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._events = events
        self._store = store
        self._tell_addresses = tell_addresses
        self._makers = of_this_machine() if makers is None else makers
        self._clock = clock
        self._sources: dict[str, Source] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._hour = Hour()
        self._effective = settings
        self._position = START
        self._paused_until = _read_pause(store.get(_PAUSE))
        self._stopping: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._relayed_before = 0
        self._circuits_before = 0

    # --- wishes --------------------------------------------------------------------------------

    def apply(self, settings: Settings) -> None:
        """Goes by these settings from now on."""
        self._settings = self._effective = settings
        self._hour = Hour()
        self._choose_sources()
        self.update()
        relay = self._endpoint.relay
        if relay is not None:
            relay.policy = Admission(self._effective.relay)

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
        self.update()
        while self._position.state is State.DRAINING:
            self._changed.clear()
            await self._changed.wait()

    def end(self) -> None:
        """Ends relaying at once, circuits and all, for good."""
        self._stopping = 0.0
        self.update()

    async def close(self) -> None:
        """Lets go of what else it holds, after `end`."""
        for task in list(self._starting):
            task.cancel()
        for kind in list(self._sources):
            await self._sources.pop(kind).stop()

    # --- the machine ---------------------------------------------------------------------------

    def update(self) -> None:
        """Looks anew at everything that decides, and acts. Called whenever something changed, and by its own timer."""
        before, now = self._position, self._clock()
        self._look_at_the_hour(now)
        self._position, actions = step(before, self._wishes(), now)
        for action in actions:
            self._act(action)
        at = self._position
        if at.state is not before.state or (at.why != before.why and at.state is not State.OFF):
            self._tell(before)
        self._changed.set()
        self._sleep(now)

    def _look_at_the_hour(self, now: Now) -> None:
        hour = hour_at(self._settings.relay.schedule, now.wall)
        if hour.mode is not self._hour.mode:
            # Limits that nobody set are those of the mode.
            wanted = self._settings
            if hour.mode is not None and self._settings.relay.mode.relays:
                wanted = wanted.changed({"relay.mode": str(hour.mode)}, source="relay.schedule")
            self._effective = wanted
            if self._endpoint.relay is not None:
                self._endpoint.relay.policy = Admission(wanted.relay)
        self._hour = hour

    def _wishes(self) -> Wishes:
        relay = self._settings.relay
        grace = FOREVER if relay.drain_grace is None else relay.drain_grace
        return Wishes(
            relays=relay.mode.relays,
            paused_until=self._paused_until,
            blocked=tuple(self._causes(relay)),
            stopping=self._stopping is not None,
            circuits=self.circuits_now,
            grace=grace if self._stopping is None else self._stopping,
        )

    def _causes(self, relay: RelaySettings) -> list[Cause]:
        found = []
        if not self._hour.relays:
            found.append(Cause(Kind.SCHEDULE, "relay.schedule says not at this hour", self._hour.until))
        for kind, source in self._sources.items():
            verdict = source.verdict()
            if verdict.blocks:
                found.append(Cause(Kind(kind), verdict.why))
        return found

    def _act(self, action: Action) -> None:
        if action is Action.OFFER:
            self._offer()
        elif action is Action.CLOSE:
            self._close()

    def _offer(self) -> None:
        if self._endpoint.relay is None:
            self._endpoint.start_relaying(Admission(self._effective.relay))
            hasten()
        self._tell_addresses()
        self._endpoint.push_identify()

    def _close(self) -> None:
        relay = self._endpoint.relay
        if relay is None:
            return
        self._endpoint.stop_relaying()
        self._relayed_before += sum(relay.totals())
        self._circuits_before += relay.circuits_opened
        relax()
        self._endpoint.push_identify()

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
            wait = _DRAIN_S
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
        return in_force(of_setting(self._effective.relay.max_rate, None), self._hour.rate, None)

    def status(self) -> dict[str, Any]:
        """The relay's part of the node's status."""
        relay = self._endpoint.relay
        relayed = self._relayed_before + (sum(relay.totals()) if relay is not None else 0)
        return {
            "mode": str(self._settings.relay.mode),
            "state": str(self._position.state),
            "why": self._position.why,
            "until": self._position.until,
            "circuits_now": self.circuits_now,
            "reservations_now": len(relay.reservations) if relay is not None else 0,
            "circuits_today": self._circuits_before + (relay.circuits_opened if relay is not None else 0),
            "bytes_relayed_today": relayed,
            "bytes_relayed_total": relayed,
            "budget": [],
        }

    def limits(self) -> dict[str, Any]:
        """What limits relaying, and how much of it is used."""
        rate = self.rate
        return {"budget": [], "rate": {"limit": rate.rate, "why": rate.why, "received": 0.0, "sent": 0.0}}


def _read_pause(kept: object) -> float | None:
    if not isinstance(kept, dict):
        return None
    until = kept.get("until")
    return float(until) if isinstance(until, int | float) else FOREVER
