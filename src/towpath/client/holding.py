"""Keeps two reservations at relays, an active one and a standby, as `choice` decides: asks, replaces and gives up.

Relays come from a `Guide`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

from towpath.addresses import peer_id_to_bytes
from towpath.client.choice import BOOTSTRAP_S, PATIENCE_S, SETTLED_S, WANTED, Offer, Plan, Seat, in_order, plan
from towpath.client.guide import AWAY, CONNECTED, KEPT
from towpath.client.reservations import back_off
from towpath.errors import NoRelaysAvailable, TowpathError
from towpath.log import get_logger
from towpath.waiting import doubled

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from towpath.client.guide import Guide, RelayOffer
    from towpath.client.reservations import HeldReservation

__all__ = ["Holding"]

_LOOK_S: Final = 600.0
"""How often better relays are looked for while two stand."""
_WANTING_S: Final = 5.0
"""The same while a bootstrap relay stands in for a volunteer; then less and less often."""
_SEARCH_S: Final = 5.0
"""How long one search may take before what it found is used."""
_HEAD_START_S: Final = 1.5
"""What the first search gets before bootstrap relays are asked."""
_PROBE_S: Final = 60.0
"""How often it is looked at whether the relays that we hold live, a fifth more or less."""
_GRACE_S: Final = 1.0
"""What other relays get to take us as well, once the first one did."""
_log = get_logger("client")


class Holding:
    """Holds reservations between `start` and `stop`.

    `reserve(addresses)` asks one relay and keeps what it grants (see ClientService); `held()` are all reservations,
    the application's own included. Relays that are `avoided()` are asked only when no reservation stands.
    """

    def __init__(
        self,
        guide: Guide,
        reserve: Callable[[Sequence[str]], Awaitable[HeldReservation]],
        release: Callable[[HeldReservation], Awaitable[None]],
        held: Callable[[], Sequence[HeldReservation]],
        spawn: Callable[[Coroutine[object, object, None]], None],
        avoided: Callable[[], Collection[bytes]] = tuple,
    ) -> None:
        self._guide = guide
        self._reserve = reserve
        self._release = release
        self._held = held
        self._spawn = spawn
        self._avoided = avoided
        self._own: set[HeldReservation] = set()
        self._asked: dict[bytes, tuple[Offer, float]] = {}
        self._failed: dict[bytes, tuple[int, float, str]] = {}
        self._known: dict[bytes, Offer] = {}
        self._changed = asyncio.Event()
        self._settled = asyncio.Condition()
        self._searching = False
        self._probe_at = time.monotonic() + _PROBE_S * random.uniform(0.8, 1.2)
        self._expires: dict[HeldReservation, float] = {}
        self._searched_at = float("-inf")
        self._empty_searches = 0
        self._volunteers_first = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins."""
        if self._task is None:
            self._volunteers_first = time.monotonic() + _HEAD_START_S
            self._task = asyncio.create_task(self._run(), name="holding reservations")

    async def stop(self) -> None:
        """Asks for nothing more; what is held stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def changed(self) -> None:
        """Something about the reservations, or about the relays that there are, is different now."""
        self._changed.set()

    def failures(self) -> list[str]:
        """Why relays did not take us, a line each."""
        return [why for _, _, why in self._failed.values()]

    def ranked(self) -> list[HeldReservation]:
        """Reservations that lead to us now: the active one, its standby, then others."""
        seats = {id(held): seat for held, seat in self._seated()}
        order = [id(seat) for seat in in_order(list(seats.values()))]
        good = [held for held in self._held() if id(seats[id(held)]) in order]
        return sorted(good, key=lambda held: order.index(id(seats[id(held)])))

    async def some(self, seconds: float) -> list[HeldReservation]:
        """Waits for reservations: returns when two stand, or shortly after one does. `NoRelaysAvailable` otherwise."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        graced = False
        while len(self.ranked()) < WANTED:
            if self.ranked() and not graced:
                graced, until = True, min(until, loop.time() + _GRACE_S)
            try:
                async with asyncio.timeout_at(until), self._settled:
                    await self._settled.wait()
            except TimeoutError:
                break
        found = self.ranked()
        if not found:
            raise NoRelaysAvailable(self.failures())
        return found

    # --- the task ------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            now = time.monotonic()
            made = self._plan(now)
            for relay_id in made.reserve:
                self._begin(relay_id, now)
            for held in [held for held in self._held() if peer_id_to_bytes(held.relay_id) in made.release]:
                _log.info("reservation_given_up", relay=held.relay_id, reasons=held.reasons())
                self._own.discard(held)
                await self._release(held)
            self._search_when_due(made, now)
            self._probe(now)
            async with self._settled:
                self._settled.notify_all()
            try:
                async with asyncio.timeout(self._rest(made, now)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _plan(self, now: float) -> Plan:
        offers = [relay.offer for relay in self._guide.offers() if self._may_ask(relay.offer.relay_id, now)]
        if now < self._volunteers_first:
            offers = [offer for offer in offers if not offer.bootstrap]
        avoided = self._avoided()
        if avoided and self.ranked():
            offers = [offer for offer in offers if offer.relay_id not in avoided]
        held = {peer_id_to_bytes(held.relay_id) for held in self._held()}
        self._known = {relay_id: offer for relay_id, offer in self._known.items() if relay_id in held}
        self._known |= {offer.relay_id: offer for offer in offers}
        return plan([seat for _, seat in self._seated()] + self._asking(), offers, now)

    def _may_ask(self, relay_id: bytes, now: float) -> bool:
        return relay_id not in self._failed or self._failed[relay_id][1] <= now

    def _asking(self) -> list[Seat]:
        held = {peer_id_to_bytes(held.relay_id) for held in self._held()}
        return [
            Seat(offer, "connecting", since) for relay_id, (offer, since) in self._asked.items() if relay_id not in held
        ]

    def _seated(self) -> list[tuple[HeldReservation, Seat]]:
        found = []
        for held in self._held():
            relay_id = peer_id_to_bytes(held.relay_id)
            offer = self._known.get(relay_id) or Offer(relay_id)
            found.append((held, Seat(offer, held.state, held.since, held in self._own)))
        return found

    def _begin(self, relay_id: bytes, now: float) -> None:
        relay = next((one for one in self._guide.offers() if one.offer.relay_id == relay_id), None)
        if relay is not None:
            self._asked[relay_id] = (relay.offer, now)
            self._spawn(self._ask(relay))

    async def _ask(self, relay: RelayOffer) -> None:
        relay_id = relay.offer.relay_id
        try:
            self._own.add(await self._reserve(relay.addresses))
            self._failed.pop(relay_id, None)
        except (TowpathError, OSError) as error:
            failures = self._failed.get(relay_id, (0, 0.0, ""))[0] + 1
            again = time.monotonic() + back_off(failures, random.random())
            self._failed[relay_id] = (failures, again, f"{relay.addresses[0]}: {error}")
        finally:
            self._asked.pop(relay_id, None)
            self._changed.set()

    def _search_when_due(self, made: Plan, now: float) -> None:
        if self._searching:
            return
        if not made.lacking and not self._wanting():
            self._empty_searches = 0
        if self._search_due(made) <= now:
            self._searching, self._searched_at = True, now
            self._spawn(self._search(bool(made.lacking) or self._wanting()))

    def _search_due(self, made: Plan) -> float:
        # When to look again: soon while we have too few, not so soon for better ones than bootstrap relays.
        if made.lacking:
            wait = back_off(self._empty_searches, 1.0) if self._empty_searches else 0.0
        elif self._wanting():
            wait = doubled(_WANTING_S, _LOOK_S, self._empty_searches)
        else:
            wait = _LOOK_S
        return self._searched_at + wait

    def _wanting(self) -> bool:
        seats = in_order([seat for _, seat in self._seated()])
        return any(seat.offer.bootstrap for seat in seats[:WANTED])

    async def _search(self, in_need: bool) -> None:
        try:
            await self._guide.search(2 * WANTED, _SEARCH_S)
        except (TowpathError, OSError) as error:
            _log.info("search_failed", error=str(error))
        finally:
            self._searching = False
            self._volunteers_first = float("-inf")
            if in_need:
                self._empty_searches += 1
            self._changed.set()

    def _probe(self, now: float) -> None:
        # That a connection lives, its pings tell (see liveness). What stands is no success: a relay that keeps
        # reservations and drops every circuit would have them for nothing.
        if now < self._probe_at:
            return
        self._probe_at = now + _PROBE_S * random.uniform(0.8, 1.2)
        before, self._expires = self._expires, {held: held.expires_at for held in self._held()}
        for held in self._held():
            relay_id, session = peer_id_to_bytes(held.relay_id), held.session
            if session is not None and not session.closed:
                refreshed = held.expires_at != before.get(held, held.expires_at)
                self._guide.note(relay_id, KEPT if refreshed else CONNECTED, session.rtt_s or None)
            elif held.state == "lost":
                self._guide.note(relay_id, AWAY)

    def _rest(self, made: Plan, now: float) -> float:
        # Until the next thing that time alone brings about.
        waits = [_LOOK_S, max(0.0, self._probe_at - now)]
        waits += [again - now for _, again, _ in self._failed.values() if again > now and made.lacking]
        waits += [since + PATIENCE_S - now for _, since in self._asked.values() if since + PATIENCE_S > now]
        for settled in (BOOTSTRAP_S, SETTLED_S):
            waits += [seat.since + settled - now for _, seat in self._seated() if seat.since + settled > now]
        if self._volunteers_first > now:
            waits.append(self._volunteers_first - now)
        if any(seat.state == "lost" for _, seat in self._seated()):
            waits.append(10.0)
        if not self._searching:
            waits.append(self._search_due(made) - now)
        return max(0.05, min(waits))
