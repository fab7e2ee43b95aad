"""How many users a volunteer carries: the same people with fewer and fewer volunteers, and no bootstrap relay.

Each world runs for a week. With too few volunteers their daily quotas end before the day does; where that begins is
what a network needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from towpath.sim.attacks.figures import Chart, Figure
from towpath.sim.scenario import Judged, Part, Ran, Scenario
from towpath.sim.world import World

__all__ = ["SCENARIO"]

DAYS: Final = 7.0
USERS_EACH: Final = (5, 10, 20, 40, 80, 160)
"""Users for each volunteer."""
_ENOUGH: Final = 0.99


def _parts(nodes: int, seed: int) -> Iterator[Part]:
    for each in USERS_EACH:
        world = World(seed, DAYS)
        users = world.add_users(nodes)
        willing = [user for user in users if world.may_volunteer(user)]
        for user in willing[: max(2, round(nodes / each))]:
            world.volunteer(user)
        yield Part(str(each), world)


def _judge(ran: Sequence[Ran]) -> Judged:
    sentences = []
    success: list[tuple[float, float]] = []
    quota: list[tuple[float, float]] = []
    load: list[tuple[float, float]] = []
    carried = 0
    for part in ran:
        each = int(part.label)
        rows = [row for row in part.rows if row["day"] > 1.0]
        made = sum(row["circuits"] for row in rows)
        wanted = made + sum(row["refused"] + row["no_way"] for row in rows)
        if not wanted:
            continue
        share = made / wanted
        success.append((each, 100 * share))
        used = [row["quota_used"] for row in rows if row["quota_used"] is not None]
        loads = [row["load"] for row in rows if row["load"] is not None]
        quota.append((each, 100 * sum(used) / max(1, len(used))))
        load.append((each, 100 * sum(loads) / max(1, len(loads))))
        if share >= _ENOUGH:
            carried = max(carried, each)
        sentences.append(
            f"{each} users for each volunteer: {100 * share:.1f}% of {wanted} circuits made, "
            f"{quota[-1][1]:.0f}% of the quotas and {load[-1][1]:.1f}% of the rates used"
        )
    figures = []
    if success:
        sentences.append(f"up to {carried} users for each volunteer are served (99% of their circuits and more)")
        figures.append(Figure("users that a volunteer carries", carried, at_least=USERS_EACH[0], unit="users"))
    chart = Chart(
        "What volunteers carry",
        "users for each volunteer",
        "%",
        {"circuits made": success, "of the quotas used": quota, "of the rates used": load},
        log_x=True,
    )
    return Judged(sentences, figures, [("capacity", chart)])


SCENARIO: Final = Scenario("capacity", "how many users a volunteer can carry", 1000, _parts, _judge)
