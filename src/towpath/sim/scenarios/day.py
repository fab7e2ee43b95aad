"""One ordinary day of a large network, a twentieth of whose users volunteer. It measures the simulator as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from towpath.sim.attacks.figures import Chart, Figure
from towpath.sim.models import HOUR_S
from towpath.sim.scenario import Judged, Part, Ran, Scenario, column
from towpath.sim.world import World

__all__ = ["SCENARIO"]

_VOLUNTEERS: Final = 0.05


def _parts(nodes: int, seed: int) -> Iterator[Part]:
    world = World(seed, 1.0)
    users = world.add_users(nodes)
    willing = (user for user in users if world.may_volunteer(user))
    for user, _ in zip(willing, range(max(8, round(nodes * _VOLUNTEERS))), strict=False):
        world.volunteer(user)
    yield Part("day", world, HOUR_S)


def _judge(ran: Sequence[Ran]) -> Judged:
    rows = ran[0].rows
    made = sum(row["circuits"] for row in rows)
    wanted = made + sum(row["refused"] + row["no_way"] for row in rows)
    sentences = [f"{made} of {wanted} circuits made; {sum(row['sessions'] for row in rows)} sessions began"]
    figures = [Figure("circuits made", 100 * made / max(1, wanted), at_least=95.0, unit="%")]
    lines = {"users there": column(rows, "online"), "relays up": column(rows, "relays")}
    return Judged(sentences, figures, [("day", Chart("A day", "day", "number", lines))])


SCENARIO: Final = Scenario("day", "one ordinary day", 100_000, _parts, _judge)
