"""A new network's first six months: two bootstrap relays, then volunteers, then the bootstrap relays are switched off.

Of 2,000 users 50 volunteer by the end of month 3 and 500 by the end of month 6; with other numbers of users the same
shares. The first bootstrap relay goes on day 150, the other one on day 165. Whether the network said of itself that it
could do without them (`reputation.sustaining`) before that, and was right, is what is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from towpath.sim.attacks.figures import Chart, Figure
from towpath.sim.models import DAY_S, HOUR_S
from towpath.sim.scenario import Judged, Part, Ran, Scenario, column, over
from towpath.sim.sustaining import watch_sustaining
from towpath.sim.world import World

__all__ = ["SCENARIO", "volunteers_on"]

DAYS: Final = 180
FIRST_DAY: Final = 20.0
"""When the first volunteers come."""
MONTH_3: Final = (90.0, 50 / 2000)
MONTH_6: Final = (180.0, 500 / 2000)
OFF: Final = (150.0, 165.0)
"""The days on which a bootstrap relay is switched off."""
_SAMPLE_S: Final = 6 * HOUR_S


def volunteers_on(day: float, users: int) -> int:
    """How many users volunteer on that day: the number grows by the same factor every day."""
    (a, part_a), (b, part_b) = MONTH_3, MONTH_6
    if day < FIRST_DAY:
        return 0
    growth = math.log(part_b / part_a) / (b - a)
    return round(users * part_a * math.exp(growth * (day - a)))


def _parts(nodes: int, seed: int) -> Iterator[Part]:
    world = World(seed, DAYS)
    for _ in range(2):
        world.add_relay(world.networks.apart(world.engine.rng), bootstrap=True).start()
    users = world.add_users(nodes)
    willing = [user for user in users if world.may_volunteer(user)]
    world.engine.rng.shuffle(willing)
    world.notes["behind_nat"] = nodes - sum(world.may_volunteer(user) for user in users)

    def a_day() -> None:
        day = (world.engine.now - world.begin) / DAY_S
        have = sum(user.relay is not None for user in users)
        for _ in range(min(len(willing), volunteers_on(day, nodes) - have)):
            world.volunteer(willing.pop())
        world.engine.after(DAY_S, a_day)

    world.engine.after(DAY_S / 2, a_day)
    for day in OFF:
        world.engine.at(world.begin + day * DAY_S, _switch_off, world)
    watch_sustaining(world)
    yield Part("rollout", world, _SAMPLE_S)


def _switch_off(world: World) -> None:
    # Its owner says goodbye to its users, and everybody's settings lose it with the next update.
    relay, *others = world.bootstrap
    relay.retire()
    world.set_bootstrap(others)


_PERIODS: Final = (
    ("before the first volunteers", 0.0, FIRST_DAY),
    ("month 3", 60.0, 90.0),
    ("month 5, both bootstrap relays", 120.0, OFF[0]),
    ("one bootstrap relay", OFF[0], OFF[1]),
    ("without any bootstrap relay", OFF[1], float(DAYS)),
)


def _judge(ran: Sequence[Ran]) -> Judged:
    rows, notes = ran[0].rows, ran[0].notes
    sentences = []
    for name, begin, end in _PERIODS:
        some = [row for row in rows if begin < row["day"] <= end]
        if some:
            sentences.append(f"{name}: {_felt(some)}")
    since = notes.get("sustaining_since_day")
    if since is None:
        sentences.append(
            f"the indicator never said yes for a week: {notes.get('sustaining_missing', 'it was too short')}"
        )
    else:
        sentences.append(f"on day {since} the indicator had said for a week that no bootstrap relay is needed")
        if "sustaining_missing" in notes:
            sentences.append(f"the last time that it said no: {notes['sustaining_missing']}")
    last = [row for row in rows if row["day"] > OFF[1]]
    figures = [Figure("volunteers at the end", rows[-1]["volunteers"] if rows else 0, unit="relays up")]
    if last:
        wanted = sum(row["circuits"] + row["refused"] + row["no_way"] for row in last)
        success = sum(row["circuits"] for row in last) / max(1, wanted)
        figures += [
            Figure("circuits made without any bootstrap relay", 100 * success, at_least=98.0, unit="%"),
            Figure("cut circuits that went on elsewhere", 100 * over(last, "resumed", "cut"), at_least=95.0, unit="%"),
        ]
        day = float("inf") if since is None else float(since)
        figures.append(Figure("self-sustaining, says the indicator, since day", day, at_most=OFF[0]))
    return Judged(sentences, figures, _charts(rows))


def _felt(rows: Sequence[dict[str, Any]]) -> str:
    wanted = sum(row["circuits"] + row["refused"] + row["no_way"] for row in rows)
    made = sum(row["circuits"] for row in rows)
    setups = sorted(row["setup_p95_s"] for row in rows if row["setup_p95_s"] is not None)
    told = [f"{100 * made / max(1, wanted):.2f}% of {wanted} circuits made"]
    told.append(f"{100 * sum(row['by_bootstrap'] for row in rows) / max(1, made):.0f}% by bootstrap relays")
    if setups:
        told.append(f"19 of 20 within {setups[len(setups) // 2]:.1f} s")
    cut = sum(row["cut"] for row in rows)
    broken = sum(row["broken"] for row in rows)
    told.append(f"{1000 * cut / max(1, made):.1f} of 1,000 lost their relay, {broken} of these for good")
    return ", ".join(told)


def _charts(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Chart]]:
    x = "day"
    return [
        (
            "relays",
            Chart("Relays up", x, "relays", {"volunteers": column(rows, "volunteers"), "all": column(rows, "relays")}),
        ),
        (
            "sources",
            Chart(
                "Who carries the circuits",
                x,
                "% of circuits",
                {
                    "bootstrap relays": column(rows, "bootstrap_share", 100.0),
                    "circuits made, of those wanted": column(rows, "success", 100.0),
                },
            ),
        ),
        (
            "felt",
            Chart(
                "What users felt",
                x,
                "seconds",
                {
                    "half of the circuits stand within": column(rows, "setup_p50_s"),
                    "19 of 20": column(rows, "setup_p95_s"),
                    "19 of 20 interruptions end within": column(rows, "gap_p95_s"),
                },
            ),
        ),
        (
            "budgets",
            Chart(
                "How much of the volunteers is used",
                x,
                "%",
                {"of their rate": column(rows, "load", 100.0), "of their quota": column(rows, "quota_used", 100.0)},
            ),
        ),
    ]


SCENARIO: Final = Scenario(
    "rollout", "two bootstrap relays, then volunteers, then no bootstrap relays", 2000, _parts, _judge
)
