"""What the relay's sockets moved and may still move: the native budget, charged to the allowance and counted in the
store. Owned by the relay's service, on its loop.

The native budget holds the end of a limit to the byte. The allowance grants in slices that are on disk before they are
used, so that no crash makes a quota larger; where a slice ends the sockets wait for the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from towpath.addresses import peer_id_to_text
from towpath.relay.allowance import Allowance
from towpath.relay.modes import Cause, Kind
from towpath.relay.rate import InForce

if TYPE_CHECKING:
    from towpath._native.budget import Budget
    from towpath._native.circuit import Circuit
    from towpath._native.hop import Relay
    from towpath.relay.clock import Clock
    from towpath.settings import RelaySettings
    from towpath.store import Store

__all__ = ["COUNTED", "TICK_S", "Spending"]

COUNTED: Final = "the larger of the bytes sent and received on relay sockets"
"""What counts against a quota, to be said wherever one is shown."""
TICK_S: Final = 0.25
"""How often what moved is charged. With the store's own delay less than a second is lost in a crash."""
_AT_A_TIME: Final = 128
"""Circuits whose bytes are counted for their peers in one tick."""
_OF: Final = {"hour": "hour's", "day": "day's", "month": "month's"}


class Spending:
    """Charges, grants and counts. `changed()` is called when what is left may matter to whether the node relays,
    `emptied()` whenever the last open circuit has ended: both must be quick.
    """

    def __init__(
        self,
        budget: Budget,
        store: Store,
        settings: RelaySettings,
        changed: Callable[[], None],
        emptied: Callable[[], None],
        *,
        clock: Callable[[], Clock] | None = None,
    ) -> None:
        self._budget = budget
        self._store = store
        self._changed = changed
        self._emptied = emptied
        clocked = {} if clock is None else {"clock": clock}
        self._allowance = Allowance(store, _limits_of(settings), self._granted, **clocked)
        self._rate = InForce(None, "relay.max_rate is unlimited")
        self._ends: tuple[int | None, ...] = (None, None)
        self._granted_to: tuple[int | None, ...] = (None, None)
        self._charged = (0, 0)
        self._left_over = (False, False)
        self.on_circuit_ended: Callable[[Circuit], None] = lambda circuit: None
        """Called with each circuit that has ended, for who else goes by it."""
        self._relay: Relay | None = None
        self._counted: dict[str, int] = {}
        self._of_peers: dict[int, tuple[int, int]] = {}
        self._ended: dict[tuple[bytes, bytes], list[int]] = {}
        self._round: list[Circuit] = []
        self._total_before = 0
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begins to count; returns when the first slice may be used."""
        self._total_before = (await self._store.totals())["relayed"]
        self._budget.on_exhausted = self._exhausted
        self._budget.on_waiting = self._waiting
        await self._allowance.start()
        self._tick()

    async def close(self) -> None:
        """Counts what is left to count, when nothing moves any more."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._budget.on_exhausted = self._budget.on_waiting = None
        self.charge()
        self._count_ended()
        await self._allowance.close()

    # --- limits --------------------------------------------------------------------------------

    def set_limits(self, settings: RelaySettings) -> None:
        """Goes by the quotas of these settings from now on; what was used stays used."""
        self.charge()
        self._allowance.set_limits(_limits_of(settings))

    def set_rate(self, rate: InForce) -> None:
        """Holds the sockets to this rate from now on."""
        if rate != self._rate:
            self._rate = rate
            self._budget.set_rate(rate.rate)

    def _granted(self) -> None:
        self._hold()
        self._look()

    def _hold(self) -> None:
        ends, granted = self._ends_of(self._allowance.left()), self._ends_of(self._allowance.granted_left())
        if ends != self._ends:
            self._ends = ends
            self._budget.set_allowance(*self._until(ends))
        if granted != self._granted_to:
            self._granted_to = granted
            self._budget.set_granted(*self._until(granted))

    def _ends_of(self, left: tuple[int | None, int | None]) -> tuple[int | None, ...]:
        """The budget's counters when that will be used."""
        return tuple(None if n is None else at + n for at, n in zip(self._charged, left, strict=True))

    def _until(self, ends: tuple[int | None, ...]) -> list[int | None]:
        moved = (self._budget.received, self._budget.sent)
        return [None if end is None else max(0, end - at) for end, at in zip(ends, moved, strict=True)]

    def _waiting(self) -> None:
        self.charge()
        self._hold()

    def _exhausted(self) -> None:
        self.charge()
        self._changed()

    # --- counting ------------------------------------------------------------------------------

    def follow(self, relay: Relay | None) -> None:
        """Counts the circuits of this relay from now on, and for the last time those of the one before."""
        self._count_circuits()
        if self._relay is not None:
            self._relay.circuit_ended = None
            self._round = list(self._relay.circuits.values())
            while self._round:
                self._count_some_peers()
            self._count_ended()
        self._of_peers.clear()
        self._counted = {}
        self._relay = relay
        if relay is not None:
            relay.circuit_ended = self._circuit_ended

    def charge(self) -> bool:
        """Charges and counts everything up to this moment; did anything move?"""
        moved = (self._budget.received, self._budget.sent)
        received, sent = moved[0] - self._charged[0], moved[1] - self._charged[1]
        self._charged = moved
        self._allowance.charge(received, sent)
        if received or sent:
            self._store.count(received=received, sent=sent)
        self._count_circuits()
        return bool(received or sent)

    def _tick(self) -> None:
        before = self._charged
        if self.charge():
            self._count_some_peers()
            self._count_ended()
        self._allowance.expect(max(self._charged[0] - before[0], self._charged[1] - before[1]) / TICK_S)
        self._hold()
        self._look()
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _look(self) -> None:
        now = (self._allowance.low, self._is_spent())
        if now != self._left_over:
            self._left_over = now
            self._changed()

    def _count_circuits(self) -> None:
        relay = self._relay
        if relay is None:
            return
        now = {
            "relayed": sum(relay.totals()),
            "circuits": relay.circuits_opened,
            "reservations": relay.reservations_made,
            "refused": relay.circuits_refused,
        }
        more = {name: n - self._counted.get(name, 0) for name, n in now.items() if n != self._counted.get(name, 0)}
        if more:
            self._counted = now
            self._total_before += more.get("relayed", 0)
            self._store.count(**more)

    def _count_some_peers(self) -> None:
        if self._relay is None:
            return
        if not self._round:
            self._round = list(self._relay.circuits.values())
        for circuit in self._round[-_AT_A_TIME:]:
            if circuit.id in self._relay.circuits:
                self._count_peers(circuit)
        del self._round[-_AT_A_TIME:]

    def _count_peers(self, circuit: Circuit) -> None:
        there, back = self._uncounted(circuit)
        if there or back:
            self._of_peers[circuit.id] = (circuit.bytes_in, circuit.bytes_out)
            self._count_pair(circuit.dialer_id, circuit.target_id, there, back, 0)

    def _uncounted(self, circuit: Circuit) -> tuple[int, int]:
        before = self._of_peers.get(circuit.id, (0, 0))
        return circuit.bytes_in - before[0], circuit.bytes_out - before[1]

    def _count_pair(self, dialer: bytes, target: bytes, there: int, back: int, opened: int) -> None:
        self._store.count_peer(peer_id_to_text(dialer), there, back, opened)
        self._store.count_peer(peer_id_to_text(target), back, there, opened)

    def _circuit_ended(self, circuit: Circuit) -> None:
        # Of a peer who opens thousands a second each tick makes one sum.
        there, back = self._uncounted(circuit)
        self._of_peers.pop(circuit.id, None)
        pair = (circuit.dialer_id, circuit.target_id)
        ended = self._ended.get(pair)
        if ended is None:
            self._ended[pair] = [there, back, 1]
        else:
            ended[0] += there
            ended[1] += back
            ended[2] += 1
        self.on_circuit_ended(circuit)
        if self._relay is not None and not self._relay.circuits:
            self._emptied()

    def _count_ended(self) -> None:
        ended, self._ended = self._ended, {}
        for (dialer, target), (there, back, opened) in ended.items():
            self._count_pair(dialer, target, there, back, opened)

    # --- what it says --------------------------------------------------------------------------

    def spent(self) -> Cause | None:
        """Why nothing more may move: a limit is reached."""
        if not self._is_spent():
            return None
        row = min(self._limited_rows(), key=lambda row: row["limit"] - row["used"], default=None)
        if row is None:
            return None
        return Cause(Kind.QUOTA, f"the {_OF[row['period']]} budget is used up", round(row["resets_at"]))

    def scarce(self) -> Cause | None:
        """Why nobody new is admitted: less than a tenth of a limit is left."""
        if not self._allowance.low:
            return None
        row = self.scarcest()
        if row is None:
            return None
        return Cause(
            Kind.QUOTA, f"less than a tenth of the {_OF[row['period']]} budget is left", round(row["resets_at"])
        )

    def _is_spent(self) -> bool:
        return self._budget.exhausted or self._allowance.exhausted_for() is not None

    def scarcest(self) -> dict[str, Any] | None:
        """The row of the limit of which the least is left; None without limits."""
        return min(self._limited_rows(), key=lambda row: 1 - row["used"] / max(1, row["limit"]), default=None)

    def _limited_rows(self) -> list[dict[str, Any]]:
        return [row for row in self._allowance.rows() if row["limit"] is not None]

    def used(self) -> float:
        """The share that is used of the limit of which the least is left; 0 without limits."""
        row = self.scarcest()
        return 0.0 if row is None else min(1.0, row["used"] / max(1, row["limit"]))

    def left(self) -> tuple[int, float] | None:
        """Bytes that may still be carried, and until when (Unix time) the limit of which the least is left holds; None
        without limits.
        """
        left = [n for n in self._allowance.left() if n is not None]
        row = self.scarcest()
        return (min(left), row["resets_at"]) if left and row is not None else None

    def rows(self) -> list[dict[str, Any]]:
        """A row {period, limit, used, resets_at} for hour, day and month, up to this moment."""
        self.charge()
        return [row | {"resets_at": round(row["resets_at"])} for row in self._allowance.rows()]

    @property
    def rate(self) -> InForce:
        """The rate in force."""
        return self._rate

    @property
    def rate_now(self) -> tuple[float, float]:
        """Bytes received and sent each second, smoothed."""
        return self._budget.rate_now()

    @property
    def relayed(self) -> int:
        """Bytes relayed since the store was begun, up to the last `charge`."""
        return self._total_before


def _limits_of(settings: RelaySettings) -> dict[str, int | None]:
    return {
        "hour": settings.max_bandwidth_per_hour,
        "day": settings.max_bandwidth_per_day,
        "month": settings.max_bandwidth_per_month,
    }
