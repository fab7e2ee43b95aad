"""What a simulated relay says of itself: its record, published and taken back as `discovery.advertising` decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from towpath.discovery.adverts import LOAD_S, LOOK_S, REFRESH_S, AdvertFacts, Do, load_step, plan, said_by

if TYPE_CHECKING:
    from towpath.discovery.records import Advertisement
    from towpath.sim.relays import Relay

__all__ = ["Saying"]

_NEVER: Final = float("inf")
_SOONEST: Final = 0.8
"""The part of REFRESH_S after which a record may be published anew for nothing but its age."""


class Saying:
    """Of one relay. `record` is what it published last."""

    __slots__ = ("_due", "_load_at", "_relay", "record")

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.record: Advertisement | None = None
        self._due = 0.0
        """When its record is looked at again."""
        self._load_at = _NEVER
        """After that its load may be told anew."""

    def look(self) -> None:
        """Publishes what is due."""
        relay = self._relay
        admitting = relay.up and relay.position.admitting
        facts = AdvertFacts(
            admitting,
            (relay.address,),
            "dedicated" if relay.dedicated else "cooperative",
            relay.capacity,
            load_step(relay.most()),
            account=relay.account,
            family=relay.family,
        )
        engine = relay.world.engine
        due = plan(facts, self.record, engine.now, engine.rng.random())
        if due.do is not Do.NOTHING:
            self._publish(facts)
        if admitting and self._due <= engine.now:
            self._come_back(REFRESH_S)

    def look_at_load(self, now: float) -> None:
        """Publishes that the load is another one, if it is time to look at that."""
        if now > self._load_at:
            self._load_at = now + LOOK_S
            record = self.record
            if record is not None and load_step(self._relay.most()) != record.load:
                self.look()

    def withdraw(self) -> None:
        """Takes back what stands."""
        if self.record is not None and not self.record.withdrawn:
            self._publish(AdvertFacts(False))

    def _come_back(self, seconds: float) -> None:
        engine = self._relay.world.engine
        self._due = engine.now + seconds * 0.95
        engine.after(seconds, self._renew)

    def _renew(self) -> None:
        record, relay = self.record, self._relay
        since = _NEVER if record is None or record.withdrawn else relay.world.engine.now - record.last_seen
        if relay.position.admitting and since < REFRESH_S * _SOONEST:
            # It was published for its load meanwhile.
            self._come_back(REFRESH_S - since)
        else:
            self.look()

    def _publish(self, facts: AdvertFacts) -> None:
        relay = self._relay
        now = relay.world.engine.now
        self.record = said_by(relay.id, facts, self.record, now)
        self._load_at = self.record.last_seen + LOAD_S
        relay.world.shards.provide(self.record, relay.prefix, now)
