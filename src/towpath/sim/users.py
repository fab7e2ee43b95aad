"""A simulated user: is there or not, keeps reservations, opens circuits; a volunteer's machine also holds a relay.

Which relays are wanted, asked and left is `client.choice`'s decision, their order `discovery.selection`'s, what a
failure means `discovery.candidates`'; this only lives through it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from towpath.client.choice import PATIENCE_S, WANTED, Offer, Seat, in_order, plan
from towpath.client.reservations import refresh_after
from towpath.discovery.outcomes import Outcome
from towpath.signed import PEER_ID_PREFIX
from towpath.sim.books import Who
from towpath.sim.knowing import Known, offered
from towpath.sim.models import DAY_S, HOUR_S, Kind, activity
from towpath.waiting import doubled, spread

if TYPE_CHECKING:
    from towpath.sim.models import Line, Place
    from towpath.sim.relays import Relay
    from towpath.sim.world import World

__all__ = ["User"]

SEARCH_S: Final = 60.0
"""A search is repeated after that long; after twice that when it found nothing new, and so on."""
ENOUGH: Final = 4
"""Usable volunteers with which a client does not search (`Finder.find`)."""
EXPLORED: Final = 4
"""Strangers that are measured after a search, as by `Finder`."""
AGAIN_S: Final = DAY_S
"""After this long a search is worth another one; a node looks more often, and finds the same."""
KNOWN: Final = 8
"""Relays that one user remembers; a node remembers 256, but only a few of these are ever asked."""
DIAL_S: Final = 5.0
"""How long a relay that says nothing is waited for."""
_ROUNDS: Final = 6
_ASKING_S: Final = 1.0
"""How long it takes to have another reservation."""
_NEVER: Final = float("inf")
_NOTICED_S: Final = 20.0
"""When a reservation's relay has vanished without a word, this is noticed after that long (`client.liveness`)."""
_SOON_S: Final = 15.0
_BETTER_S: Final = 300.0
"""While a bootstrap relay stands in, volunteers are asked again after that long; a node asks sooner, served alike."""
_BUSY_S: Final = 300.0


class User:
    """Made by World.add_user. `shown` is its account, or None when it shows none; `signs`: it signs receipts."""

    __slots__ = (
        "_ways",
        "_who",
        "account",
        "contacts",
        "empty",
        "fruitless",
        "id",
        "index",
        "ip",
        "kind",
        "known",
        "line",
        "online",
        "open",
        "place",
        "received",
        "relay",
        "searched_at",
        "seats",
        "sent",
        "shown",
        "signs",
        "since",
        "turn",
        "wants_at",
        "world",
    )

    def __init__(self, world: World, index: int, key: bytes, kind: Kind, line: Line, place: Place, ip: bytes) -> None:
        self.world = world
        self.index = index
        self.id = PEER_ID_PREFIX + key
        self.account = key
        self.shown: bytes | None = key
        self.signs = True
        self.kind = kind
        self.line = line
        self.place = place
        self.ip = ip
        self._who = Who(key, ip[:3], True)
        self.contacts: tuple[User, ...] = ()
        self.known: dict[bytes, Known] = {}
        self.seats: dict[bytes, Seat] = {}
        self._ways: tuple[list[Relay], list[Relay]] | None = None
        self.relay: Relay | None = None
        """The relay on its machine, if it volunteers."""
        self.online = False
        self.since = 0.0
        self.turn = 0
        self.open = 0
        """Circuits of its own, from either end."""
        self.wants_at = _NEVER
        """From when on it has another reservation, or a better one: the plan is made when somebody looks."""
        self.searched_at = float("-inf")
        self.empty = 0
        """How often in a row it looked for relays in vain,"""
        self.fruitless = 0
        """and how many searches in a row found nothing new."""
        self.sent = 0
        self.received = 0

    def who(self) -> Who:
        """As whom it pays."""
        who = self._who
        if who.account is not self.shown or who.signs is not self.signs or not self.ip.startswith(who.prefix):
            self._who = who = Who(self.shown, self.ip[:3], self.signs)
        return who

    # --- there or not --------------------------------------------------------------------------

    def begin(self) -> None:
        """Its program starts."""
        if self.online:
            return
        world = self.world
        self.online, self.since = True, world.engine.now
        self.turn += 1
        world.users_online += 1
        world.metrics.sessions += 1
        if self.kind is Kind.MOBILE:
            self.ip = world.networks.draw(world.engine.rng)
        length = world.model.sessions(self.kind).draw(world.engine.rng)
        world.engine.after(length, self.end, self.turn)
        if self.relay is not None:
            self.relay.start()
        if self.kind is Kind.MOBILE:
            # Gone again in minutes, mostly: its reservations are made when somebody calls it.
            self.wants_at = world.engine.now
        else:
            self.hold(first=True)

    def end(self, turn: int) -> None:
        """Its program ends, unless it is just used."""
        if turn != self.turn or not self.online:
            return
        world = self.world
        if self.open:
            world.engine.after(_BUSY_S, self.end, turn)
            return
        now = world.engine.now
        for relay_id in self.seats:
            self.note(relay_id, Outcome.CONNECTED)
            world.relays[relay_id].release(self)
        self.seats.clear()
        self._ways = None
        self.wants_at = _NEVER
        self.online = False
        world.users_online -= 1
        if self.relay is not None:
            self.relay.end(silently=world.engine.rng.random() < world.model.silent_deaths)
        if self.kind is Kind.ALWAYS_ON:
            world.engine.at(now + world.engine.rng.expovariate(1 / world.model.always_on_off_s), self.begin)

    def act(self) -> None:
        """Wants to talk to somebody; and will again."""
        self.act_later()
        world = self.world
        if not self.online:
            self.begin()
        else:
            self.look()
        number = len(self.contacts)
        if number:
            first = int(world.engine.rng.random() * number)
            for place in range(number):
                peer = self.contacts[(first + place) % number]
                if peer.online and peer is not self:
                    n, pace = world.model.sizes.draw(world.engine.rng)
                    world.circuits.open(self, peer, n, pace)
                    return
        world.metrics.away += 1

    def act_later(self) -> None:
        """Draws when it wants something next: more by day than by night."""
        world = self.world
        model, luck, zone_h = world.model, world.engine.rng.random, self.place.zone_h
        highest = 1 + model.swing
        most = model.circuits_a_day / DAY_S * highest
        at = world.engine.now
        while True:
            at -= math.log(1.0 - luck()) / most
            if luck() * highest <= activity((at / HOUR_S + zone_h) % 24, model.swing):
                break
        if at <= world.ends:
            world.engine.at(at, self.act)

    # --- reservations --------------------------------------------------------------------------

    def ways(self) -> tuple[list[Relay], list[Relay]]:
        """Volunteers and bootstrap relays at which it has reservations, the active one first; not to be changed.

        Those at relays that vanished are among them until that is noticed.
        """
        ways = self._ways
        if ways is None:
            volunteers: list[Relay] = []
            bootstrap: list[Relay] = []
            for seat in in_order(self.seats.values()):
                relay = self.world.relays[seat.offer.relay_id]
                (bootstrap if relay.bootstrap else volunteers).append(relay)
            self._ways = ways = (volunteers, bootstrap)
        return ways

    def standing(self) -> int:
        """How many reservations lead to it now."""
        number = 0
        for seat in self.seats.values():
            if seat.state == "active":
                number += 1
        return number

    def look(self) -> None:
        """Looks for something better, if it is time."""
        if self.online and self.world.engine.now - self.searched_at > AGAIN_S:
            self.hold()

    def settle(self) -> None:
        """Replaces what was lost, moved out or is to be better: called before its reservations are looked at.

        A node plans at once. Here most of that would be in vain, as its relay is back before anybody asks for the user.
        """
        if self.wants_at <= self.world.engine.now:
            if self.standing() < WANTED or self._may_improve():
                self.hold()
            else:
                self._look_again(0)

    def hold(self, *, first: bool = False) -> None:
        """Brings its reservations to what is wanted, as far as there are relays that take it.

        What takes a few seconds is done at once here, and only counted.
        """
        if not self.online:
            return
        world = self.world
        now = world.engine.now
        self.wants_at = _NEVER
        at = 0.0
        reserved = 0.0 if self.seats else None
        since = now - self.searched_at
        worth, usable = self._worth_asking(now, everybody=first)
        if usable < ENOUGH and since > doubled(SEARCH_S, AGAIN_S, self.fruitless):
            at = self.search()
            worth, _ = self._worth_asking(now, everybody=first)
        elif usable >= ENOUGH and since > AGAIN_S:
            # Behind its back: nobody waits for that.
            self.search()
            worth, _ = self._worth_asking(now, everybody=first)
        lacking, at, reserved = self._ask_in_turn(worth, at, reserved)
        if lacking and now - self.searched_at > doubled(SEARCH_S, AGAIN_S, self.fruitless):
            # Those that it knows are gone, or would refuse it.
            at += self.search()
            worth, _ = self._worth_asking(now, everybody=False)
            lacking, _, reserved = self._ask_in_turn(worth, at, reserved)
        if first:
            if reserved is None:
                world.metrics.unreserved += 1
            else:
                world.metrics.reserved += 1
                world.metrics.felt(world.metrics.reserve_s, reserved, world)
        self._look_again(lacking)

    def _ask_in_turn(
        self, worth: Iterable[Known], at: float, reserved: float | None
    ) -> tuple[int, float, float | None]:
        # How many reservations are lacking then, the seconds that it took, and those until the first one stood.
        world = self.world
        now = world.engine.now
        offers = offered(worth, now, world.engine.rng)
        lacking = 0
        for _ in range(_ROUNDS):
            made = plan(list(self.seats.values()), offers, now + at, WANTED)
            lacking = made.lacking
            for relay_id in made.release:
                self.leave(world.relays[relay_id])
            if not made.reserve:
                break
            longest, granted = 0.0, True
            for relay_id in made.reserve:
                relay = world.relays[relay_id]
                took = 4 * world.rtt(self, relay) if not relay.silent else DIAL_S
                if self._ask(relay, took, now):
                    reserved = at + took if reserved is None else min(reserved, at + took)
                else:
                    granted = False
                longest = max(longest, took)
            at += min(longest, PATIENCE_S)
            if granted and not lacking and self.standing() == WANTED:
                break
            # Those that took it are seats now, the others rest. Those left that would refuse are passed over: to
            # ask one takes a round trip and changes nothing.
            relays = world.relays
            offers = [
                offer
                for offer in offers
                if offer.relay_id not in made.reserve
                and (offer.bootstrap or not relays[offer.relay_id].up or relays[offer.relay_id].takes(self))
            ]
        else:
            lacking = max(0, WANTED - self.standing())
        return lacking, at, reserved

    def offers(self) -> list[Offer]:
        """Relays that may be asked, the best first."""
        engine = self.world.engine
        return offered(self.known.values(), engine.now, engine.rng)

    def _worth_asking(self, now: float, *, everybody: bool) -> tuple[list[Known], int]:
        # And how many usable volunteers are known. Without `everybody` those are left out that would refuse: they would
        # say so within a round trip, and nobody waits for it.
        seats, found = self.seats, 0
        worth = []
        for one in self.known.values():
            if one.rests_until > now or one.bootstrap:
                worth.append(one)
                continue
            found += 1
            relay = one.relay
            if relay.id not in seats and (everybody or not relay.up or relay.takes(self)):
                worth.append(one)
        return worth, found

    def _ask(self, relay: Relay, took: float, now: float) -> bool:
        rtt_ms = took * 250.0
        if not relay.up:
            self.note(relay.id, Outcome.FAILED)
            return False
        reason = relay.reserve(self)
        if reason is not None:
            self.note(relay.id, Outcome.REFUSED, rtt_ms)
            return False
        self.note(relay.id, Outcome.SERVED, rtt_ms)
        self._sit(Seat(self.known[relay.id].offer, "active", now + took))
        return True

    def _look_again(self, lacking: int) -> None:
        # Soon while too few stand, or while a bootstrap relay stands in for a volunteer.
        world = self.world
        if lacking:
            self.empty += 1
            wait = spread(doubled(_SOON_S, HOUR_S, self.empty - 1), world.engine.rng.random())
        elif any(seat.offer.bootstrap for seat in self.seats.values()) and world.volunteers_up:
            self.empty += 1
            wait = doubled(_BETTER_S, 6 * HOUR_S, self.empty - 1)
        else:
            self.empty = 0
            self.wants_at = _NEVER
            return
        self.wants_at = world.engine.now + wait

    def _may_improve(self) -> bool:
        # Is there a volunteer to ask, or is it time to search for one? If not, planning changes nothing.
        now = self.world.engine.now
        found = 0
        for one in self.known.values():
            if one.bootstrap or one.rests_until > now:
                continue
            found += 1
            if one.relay.id in self.seats:
                continue
            if not one.relay.up:
                one.note(Outcome.FAILED, now, None)
            elif one.relay.takes(self):
                return True
        return found < ENOUGH and now - self.searched_at > doubled(SEARCH_S, AGAIN_S, self.fruitless)

    def leave(self, relay: Relay) -> None:
        """Gives a reservation back."""
        if self._stand_up(relay):
            relay.release(self)

    def _sit(self, seat: Seat) -> None:
        self.seats[seat.offer.relay_id] = seat
        self._ways = None

    def _stand_up(self, relay: Relay) -> bool:
        self._ways = None
        return self.seats.pop(relay.id, None) is not None

    def moved(self, relay: Relay) -> None:
        """A relay said that it moves out: another one takes its place, until it says that it stays."""
        seat = self.seats.get(relay.id)
        if seat is not None and seat.state == "active":
            now = self.world.engine.now
            self._sit(Seat(seat.offer, "leaving", now))
            self.wants_at = min(self.wants_at, now + _ASKING_S)

    def stays(self, relay: Relay) -> None:
        """A relay that moved out takes everybody back: it does again, and the worst reservation too many goes."""
        seat = self.seats.get(relay.id)
        if seat is None or seat.state != "leaving":
            return
        world = self.world
        now = world.engine.now
        # A reservation that had to be refreshed meanwhile was lost, and given up where others stood.
        refreshed = (now - seat.since) / refresh_after(relay.settings.reservation_ttl)
        if self.standing() >= WANTED and world.engine.rng.random() < refreshed:
            self.leave(relay)
            return
        self._sit(Seat(seat.offer, "active", now))
        number = self.standing()
        if number > WANTED:
            # With more than are wanted nothing is asked for, whatever there is.
            for relay_id in plan(list(self.seats.values()), (), now, WANTED).release:
                self.leave(world.relays[relay_id])
        if number >= WANTED:
            self._look_again(0)

    def lost(self, relay: Relay, *, silent: bool) -> None:
        """A relay has gone. Who said goodbye is missed at once; the other is noticed later."""
        if relay.id in self.seats:
            if not silent:
                self._stand_up(relay)
                self.note(relay.id, Outcome.REFUSED)
                self.wants_at = min(self.wants_at, self.world.engine.now + _ASKING_S)
            else:
                engine = self.world.engine
                engine.after(_NOTICED_S * (0.5 + engine.rng.random()), self._missed, relay)

    def _missed(self, relay: Relay) -> None:
        if self._stand_up(relay):
            self.note(relay.id, Outcome.FAILED)
            self.wants_at = min(self.wants_at, self.world.engine.now + _ASKING_S)

    # --- what it knows -------------------------------------------------------------------------

    def search(self) -> float:
        """Reads the DHT for relays; the seconds that took."""
        world = self.world
        engine = world.engine
        world.metrics.searches += 1
        self.searched_at = engine.now
        read = world.shards.read(ENOUGH, engine.rng, engine.now)
        strange: list[Known] = []
        room = KNOWN - len(self.known)
        for relay_id, record in read.found:
            relay = world.relays.get(relay_id)
            if relay is None or relay is self.relay:
                continue
            known = self.known.get(relay_id)
            if known is not None:
                known.read(record, engine.now)
            elif len(strange) < max(room, EXPLORED):
                strange.append(Known(relay, record, engine.now, bootstrap=relay.bootstrap))
        self.fruitless = 0 if strange else self.fruitless + 1
        for one in strange:
            self._make_room()
            self.known[one.relay.id] = one
        for one in strange[:EXPLORED]:
            up = one.relay.up
            rtt_ms = world.rtt(self, one.relay) * 1e3 if up else None
            one.note(Outcome.CONNECTED if up else Outcome.FAILED, engine.now, rtt_ms)
        return read.seconds

    def told_of(self, relays: Iterable[Relay]) -> None:
        """The bootstrap relays in its settings; others are forgotten to be ones."""
        self.known = {relay_id: known for relay_id, known in self.known.items() if not known.bootstrap}
        for relay in relays:
            self.known[relay.id] = Known(relay, relay.saying.record, 0.0, bootstrap=True)

    def _make_room(self) -> None:
        if len(self.known) >= KNOWN:
            least = min(
                (one for one in self.known.values() if not one.bootstrap and one.relay.id not in self.seats),
                key=_worth,
                default=None,
            )
            if least is not None:
                del self.known[least.relay.id]

    def note(self, relay_id: bytes, outcome: Outcome, rtt_ms: float | None = None) -> None:
        """Remembers what became of something tried with a relay."""
        one = self.known.get(relay_id)
        if one is not None:
            one.note(outcome, self.world.engine.now, rtt_ms)


def _worth(one: Known) -> tuple[bool, float, float, bytes]:
    return (one.own.observed_at > 0, one.own.health, one.seen_at, one.relay.id)
