"""What the network says of itself, each day: can its bootstrap relays go? By the node's own indicator."""

from __future__ import annotations

from collections import deque
from typing import Final

from towpath.reputation.sustaining import BOOTSTRAP, Indicator, Room, self_sustaining
from towpath.sim.models import DAY_S
from towpath.sim.world import World

__all__ = ["STANDS_DAYS", "indicator", "watch_sustaining"]

STANDS_DAYS: Final = 7
"""Days in a row that it has to say yes before it is believed; and those whose circuits it looks at."""


def indicator(world: World, circuits: dict[str, float]) -> Indicator:
    """The verdict on these circuits and on the volunteers as they stand."""
    rooms = [
        Room(relay.pipe.rate, relay.load().most)
        for relay in world.relays.values()
        if relay.position.admitting and not relay.bootstrap
    ]
    return self_sustaining(circuits, rooms)


def watch_sustaining(world: World) -> None:
    """Notes each day's verdict in the world's notes: `sustaining`, a list of (day, yes or no, spare, top half).

    `sustaining_since_day` is the day on which it had said yes for a week, the first time; `sustaining_missing` the last
    day before that on which it said no, and why.
    """
    days: list[tuple[int, bool, float | None, int]] = []
    last: deque[tuple[int, int]] = deque(maxlen=STANDS_DAYS + 1)
    world.notes["sustaining"] = days

    def a_day() -> None:
        metrics = world.metrics
        last.append((metrics.by_volunteers, metrics.by_bootstrap))
        volunteers, bootstrap = (now - before for now, before in zip(last[-1], last[0], strict=True))
        found = indicator(world, {"dht": volunteers, BOOTSTRAP: bootstrap})
        spare = None if found.spare_capacity is None else round(found.spare_capacity, 4)
        days.append((len(days) + 1, bool(found.self_sustaining), spare, found.relays_in_top_half))
        week = days[-STANDS_DAYS:]
        if "sustaining_since_day" not in world.notes and len(week) == STANDS_DAYS and all(yes for _, yes, *_ in week):
            world.notes["sustaining_since_day"] = days[-1][0]
        if not found.self_sustaining and "sustaining_since_day" not in world.notes:
            world.notes["sustaining_missing"] = f"day {days[-1][0]}, {found.sentence}"
        world.engine.after(DAY_S, a_day)

    world.engine.after(DAY_S, a_day)
