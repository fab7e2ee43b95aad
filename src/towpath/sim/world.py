"""A simulated world: the queue, the users, the relays, the DHT and what was measured. Scenarios fill and run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from towpath.credits.decay import decayed
from towpath.credits.virtual import Probed, given_edges
from towpath.settings import RelaySettings, Settings
from towpath.sim.books import Debts, Terms
from towpath.sim.circuits import Circuits
from towpath.sim.engine import Engine
from towpath.sim.metrics import Metrics
from towpath.sim.models import DAY_S, HOUR_S, Kind, Line, Model, Networks, Place, rtt_s
from towpath.sim.pipe import Flow
from towpath.sim.relays import Relay
from towpath.sim.shards import Shards
from towpath.sim.users import User

__all__ = ["BEGIN", "World"]

BEGIN: Final = 1_767_225_600.0
"""Midnight, UTC, of 1 January 2026: when simulated time begins."""


class World:
    """Made empty. `days` is how long it will run; the same seed, model and calls make the same world."""

    def __init__(self, seed: int, days: float, model: Model | None = None, terms: Terms | None = None) -> None:
        self.begin = BEGIN
        self.ends = BEGIN + days * DAY_S
        self.model = Model() if model is None else model
        self.terms = Terms() if terms is None else terms
        self.engine = Engine(seed, BEGIN)
        self.networks = Networks(self.engine.rng)
        self.metrics = Metrics()
        self.shards = Shards()
        self.debts = Debts()
        self.circuits = Circuits(self)
        self.users: list[User] = []
        self.relays: dict[bytes, Relay] = {}
        self.bootstrap: list[Relay] = []
        """Those that stand in the settings of everybody who starts."""
        self.users_online = 0
        self.relays_up = 0
        self.on_end: list[Callable[[Flow, bool], None]] = []
        """Told of each circuit that ended for good: and whether everything was carried."""
        self.notes: dict[str, Any] = {}
        """Facts that a scenario notes while it runs, for its judgement."""
        self._settings: dict[str, RelaySettings] = {}
        self._every_day()

    # --- filling it ----------------------------------------------------------------------------

    def add_user(self, kind: Kind | None = None, ip: bytes | None = None) -> User:
        """One more user, offline, without contacts; what is not given is drawn from the model."""
        rng, model = self.engine.rng, self.model
        if kind is None:
            kind = rng.choices(tuple(Kind), weights=model.kinds)[0]
        lines = model.mobile_lines if kind is Kind.MOBILE else model.home_lines
        at = self.networks.draw(rng) if ip is None else ip
        user = User(self, len(self.users), rng.randbytes(32), kind, lines.draw(rng), model.places.draw(rng), at)
        self.users.append(user)
        user.told_of(self.bootstrap)
        return user

    def add_users(self, number: int) -> list[User]:
        """So many more users, who know each other; each begins to do what people do."""
        rng = self.engine.rng
        new = [self.add_user() for _ in range(number)]
        there = [user for user in new if user.kind is Kind.ALWAYS_ON]
        for user in new:
            chosen = rng.choices(new, k=self.model.contacts - 2) + rng.choices(there or new, k=2)
            # Everybody has somebody whose machine is always on.
            user.contacts = tuple(dict.fromkeys(one for one in chosen if one is not user))
            if user.kind is Kind.ALWAYS_ON:
                self.engine.after(rng.random() * HOUR_S, user.begin)
            user.act_later()
        return new

    def may_volunteer(self, user: User) -> bool:
        """Could others reach a relay on its machine? Drawn once for each user, from its key."""
        if user.kind is Kind.MOBILE or user.relay is not None:
            return False
        luck = user.account[0] / 256
        return luck >= self.model.behind_nat * (1 - self.model.mapped)

    def volunteer(self, user: User, settings: RelaySettings | None = None) -> Relay:
        """A user switches relaying on, with these settings or the usual ones."""
        relay = self.add_relay(user.ip, mode="cooperative", owner=user, settings=settings)
        user.relay = relay
        if user.online:
            relay.start()
        return relay

    def add_relay(
        self,
        ip: bytes,
        *,
        mode: str = "dedicated",
        owner: User | None = None,
        bootstrap: bool = False,
        line: Line | None = None,
        place: Place | None = None,
        family: str | None = None,
        settings: RelaySettings | None = None,
    ) -> Relay:
        """One more relay, not yet started. A bootstrap relay is known to everybody from then on."""
        rng = self.engine.rng
        if owner is not None:
            place, line = owner.place, owner.line
        relay = Relay(
            self,
            rng.randbytes(32),
            ip,
            self.model.places.draw(rng) if place is None else place,
            self.model.server_line if line is None else line,
            self.settings(mode) if settings is None else settings,
            owner=owner,
            bootstrap=bootstrap,
            family=family,
        )
        self.relays[relay.id] = relay
        if bootstrap:
            self.set_bootstrap([*self.bootstrap, relay])
        return relay

    def set_bootstrap(self, relays: list[Relay]) -> None:
        """Other bootstrap relays in everybody's settings."""
        self.bootstrap = relays
        for user in self.users:
            user.told_of(relays)

    def settings(self, mode: str) -> RelaySettings:
        """The settings of a relay in this mode, as nobody changed them."""
        if mode not in self._settings:
            self._settings[mode] = Settings.load({"relay.mode": mode}).relay
        return self._settings[mode]

    # --- running it ----------------------------------------------------------------------------

    def run(self, watch: Callable[[float, int], None] | None = None, *, every_s: float = 6 * HOUR_S) -> bool:
        """To its end, sampled regularly; False when it was stopped, and then what was computed is there."""
        self._sample_every(every_s)
        return self.engine.run(self.ends, watch)

    def _sample_every(self, seconds: float) -> None:
        def sample() -> None:
            self.metrics.sample(self)
            if self.engine.now + seconds <= self.ends:
                self.engine.after(seconds, sample)

        self.engine.after(seconds, sample)

    def _every_day(self) -> None:
        share = decayed(1.0, 0.0, DAY_S)

        def day() -> None:
            for user in self.users:
                user.settle()
            self.debts.fade(share)
            self.debts.given = self._given()
            for relay in self.relays.values():
                relay.books.tidy(self.engine.now, share)
            self.engine.after(DAY_S, day)

        self.engine.after(DAY_S, day)

    def close(self) -> None:
        """Lets go of everything but what was measured: a world is full of circles."""
        for user in self.users:
            user.contacts, user.relay = (), None
            user.known.clear()
            user.seats.clear()
        for relay in self.relays.values():
            relay.reservations.clear()
            relay.pipe.flows.clear()
        self.users.clear()
        self.relays.clear()
        self.bootstrap.clear()
        self.on_end.clear()

    def _given(self) -> dict[bytes, int]:
        # Every relay probes every other one, as far as that can be told from outside.
        now = self.engine.now
        probed = [
            Probed(relay.id, relay.account, (now - relay.first_up) / DAY_S, next(iter(sorted(relay.networks)), ""))
            for relay in self.relays.values()
            if relay.up and relay.first_up is not None
        ]
        return given_edges(probed, self.terms.tier.size, ())

    # --- what stands ---------------------------------------------------------------------------

    @property
    def volunteers_up(self) -> int:
        """How many relays are up that are not in everybody's settings."""
        return self.relays_up - sum(relay.up for relay in self.bootstrap)

    def rtt(self, user: User, relay: Relay) -> float:
        """The round trip between them, in seconds."""
        return rtt_s(user.place, user.line.latency_ms, relay.place, relay.line.latency_ms)

    def carried(self, flow: Flow) -> None:
        """A relay has carried all of one circuit."""
        self.circuits.through(flow)

    def count_bytes(self, relay: Relay, n: int) -> None:
        """A relay has carried so many bytes."""
        if relay.bootstrap:
            self.metrics.bytes_bootstrap += n
        else:
            self.metrics.bytes_volunteers += n

    def cut(self, flow: Flow, *, silent: bool) -> None:
        """A circuit has lost its relay."""
        self.circuits.cut(flow, silent=silent)

    def standing(self) -> dict[str, Any]:
        """How things stand: for a row of the table."""
        seats = [user.standing() for user in self.users if user.online]
        up = [relay for relay in self.relays.values() if relay.up]
        held = sorted((len(relay.reservations) for relay in up), reverse=True)
        volunteers = [relay for relay in up if not relay.bootstrap]
        rate = sum(relay.pipe.rate for relay in volunteers)
        quota = sum(relay.meter.share for relay in volunteers)
        total, half, top = sum(held), 0, 0
        for number in held:
            if half * 2 >= total:
                break
            half += number
            top += 1
        return {
            "online": self.users_online,
            "with_one": sum(number >= 1 for number in seats),
            "with_two": sum(number >= 2 for number in seats),
            "relays": len(up),
            "volunteers": len(volunteers),
            "admitting": sum(relay.position.admitting for relay in volunteers),
            "held_most": held[0] if held else 0,
            "held_mean": round(total / len(held), 3) if held else 0.0,
            "top_half": top,
            "load": round(sum(relay.pipe.in_use for relay in volunteers) / rate, 5) if rate else None,
            "quota_used": round(quota / len(volunteers), 5) if volunteers else None,
            "open": sum(len(relay.pipe.flows) for relay in up),
        }
