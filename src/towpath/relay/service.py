"""The relaying of one node: when it relays, whom it admits, what it has relayed. Owns the relay identity's HOP service.

What decides is pure and elsewhere (`modes`, `admission`); this carries it out on the loop's thread, and tells the owner
of every change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from towpath.log import get_logger
from towpath.relay.admission import Admission
from towpath.relay.interpreter import hasten, relax
from towpath.relay.modes import FOREVER, Action, Now, Position, State, Wishes, step

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath.events import EventHub
    from towpath.settings import Settings

__all__ = ["RelayService"]

_REST_S: Final = 30.0
"""How long the service sleeps at most: clocks are set and machines suspended meanwhile."""
_DRAIN_S: Final = 0.05
"""How often a draining relay looks whether the last circuit ended; the native core tells nobody."""
_log = get_logger("relay")


class RelayService:
    """Relays on `endpoint` as the settings and the owner wish; `told()` is called when it began or ended."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        events: EventHub,
        told: Callable[[], None],
        *,
        clock: Callable[[], Now] = lambda: Now(time.monotonic(), time.time()),
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._events = events
        self._told = told
        self._clock = clock
        self._position = Position()
        self._paused_until: float | None = None
        self._stopping: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._relayed_before = 0
        self._circuits_before = 0

    # --- wishes --------------------------------------------------------------------------------

    def apply(self, settings: Settings) -> None:
        """Goes by these settings from now on."""
        self._settings = settings
        relay = self._endpoint.relay
        if relay is not None:
            relay.policy = Admission(settings.relay)
        self.update()

    def pause(self, until: float | None) -> None:
        """Relays nothing until then (Unix time; None: until `resume`)."""
        self._paused_until = FOREVER if until is None else until
        self.update()

    def resume(self) -> None:
        """Ends a pause."""
        self._paused_until = None
        self.update()

    async def drain(self, grace: float) -> None:
        """Takes nobody new for good; returns when no circuit is open, after `grace` seconds at most."""
        self._stopping = grace
        self.update()
        while self._position.state is State.DRAINING:
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Ends relaying at once, circuits and all."""
        self._stopping = 0.0
        self.update()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the machine ---------------------------------------------------------------------------

    def update(self) -> None:
        """Looks anew at everything that decides, and acts. Called whenever something changed, and by its own timer."""
        before, now = self._position, self._clock()
        self._position, actions = step(before, self._wishes(), now)
        for action in actions:
            self._act(action)
        if (self._position.state, self._position.why) != (before.state, before.why):
            self._tell(before)
        self._changed.set()
        self._sleep(now)

    def _wishes(self) -> Wishes:
        relay = self._settings.relay
        grace = FOREVER if relay.drain_grace is None else relay.drain_grace
        return Wishes(
            relays=relay.mode.relays,
            paused_until=self._paused_until,
            stopping=self._stopping is not None,
            circuits=self.circuits_now,
            grace=grace if self._stopping is None else self._stopping,
        )

    def _act(self, action: Action) -> None:
        if action is Action.OFFER:
            self._offer()
        elif action is Action.CLOSE:
            self._close()

    def _offer(self) -> None:
        if self._endpoint.relay is None:
            self._endpoint.start_relaying(Admission(self._settings.relay))
            hasten()
        self._told()
        self._endpoint.push_identify()

    def _close(self) -> None:
        relay = self._endpoint.relay
        if relay is None:
            return
        self._endpoint.stop_relaying()
        self._relayed_before += sum(relay.totals())
        self._circuits_before += relay.circuits_opened
        relax()
        self._told()
        self._endpoint.push_identify()

    def _tell(self, before: Position) -> None:
        at = self._position
        _log.info("relay_state", state=str(at.state), why=at.why, before=str(before.state), until=at.until)
        self._events.publish(
            "relay_state", f"{_SAYS[at.state]}: {at.why}", state=str(at.state), why=at.why, until=at.until
        )

    def _sleep(self, now: Now) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopping is not None and self._position.state is not State.DRAINING:
            return
        wait = _REST_S
        if self._position.state is State.DRAINING:
            wait = _DRAIN_S
        elif self._position.until is not None:
            wait = min(wait, max(0.0, self._position.until - now.wall) + 0.001)
        self._timer = asyncio.get_running_loop().call_later(wait, self.update)

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


_SAYS: Final = {
    State.OFF: "Not relaying",
    State.WAITING: "Waiting to relay",
    State.RELAYING: "Relaying",
    State.DRAINING: "About to stop relaying",
    State.PAUSED: "Paused",
}
