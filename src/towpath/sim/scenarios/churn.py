"""Relays come and go: with sessions as they were measured, four times and sixteen times shorter.

A tenth of the users volunteer; two weeks. The question is what a user feels of it: circuits that lose their relay go on
elsewhere, and new ones are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from towpath.sim.attacks.figures import Chart, Figure
from towpath.sim.metrics import quantile
from towpath.sim.models import Model, Sessions
from towpath.sim.scenario import Judged, Part, Ran, Scenario, column
from towpath.sim.world import World

__all__ = ["SCENARIO"]

DAYS: Final = 14.0
FACTORS: Final = (1, 4, 16)
_VOLUNTEERS: Final = 0.1


def _shorter(sessions: Sessions, factor: float) -> Sessions:
    return sessions._replace(scale_s=sessions.scale_s / factor)


def _parts(nodes: int, seed: int) -> Iterator[Part]:
    for factor in FACTORS:
        usual = Model()
        model = usual._replace(
            desktop=_shorter(usual.desktop, factor),
            always_on=_shorter(usual.always_on, factor),
            always_on_off_s=usual.always_on_off_s,
        )
        world = World(seed, DAYS, model)
        world.add_relay(world.networks.apart(world.engine.rng), bootstrap=True).start()
        users = world.add_users(nodes)
        willing = [user for user in users if world.may_volunteer(user)]
        for user in willing[: max(8, round(nodes * _VOLUNTEERS))]:
            world.volunteer(user)
        yield Part(f"×{factor}", world)


def _judge(ran: Sequence[Ran]) -> Judged:
    sentences, figures = [], []
    for part in ran:
        # The first day is the network's own beginning.
        rows = [row for row in part.rows if row["day"] > 1.0] or list(part.rows)
        made = sum(row["circuits"] for row in rows)
        wanted = made + sum(row["refused"] + row["no_way"] for row in rows)
        cut = sum(row["cut"] for row in rows)
        resumed = sum(row["resumed"] for row in rows)
        gaps = sorted(row["gap_p95_s"] for row in rows if row["gap_p95_s"] is not None)
        gap = quantile(gaps, 0.5)
        sentences.append(
            f"sessions {part.label} shorter: {100 * made / max(1, wanted):.2f}% of {wanted} circuits made, {cut} lost "
            f"their relay, {resumed} went on" + ("" if gap is None else f", 19 of 20 of these within {gap:.1f} s")
        )
        if wanted:
            figures.append(Figure(f"circuits made, {part.label}", 100 * made / wanted, at_least=97.0, unit="%"))
        if cut:
            figures.append(
                Figure(f"cut circuits that went on, {part.label}", 100 * resumed / cut, at_least=90.0, unit="%")
            )
    made_by = {f"sessions {part.label} shorter": column(part.rows, "success", 100.0) for part in ran}
    gaps_by = {f"sessions {part.label} shorter": column(part.rows, "gap_p95_s") for part in ran}
    charts = [
        ("success", Chart("Circuits made, of those wanted", "day", "%", made_by)),
        ("gaps", Chart("19 of 20 interruptions end within", "day", "seconds", gaps_by)),
    ]
    return Judged(sentences, figures, charts)


SCENARIO: Final = Scenario("churn", "relays come and go faster and faster", 1000, _parts, _judge)
