"""What a scenario is: worlds to run one after the other, and what they are asked when they have run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from towpath.sim.attacks.figures import Chart, Figure
from towpath.sim.metrics import Metrics
from towpath.sim.world import World

__all__ = ["Judged", "Part", "Ran", "Scenario", "column", "over"]


class Part(NamedTuple):
    """One world of a scenario, ready to run; `every_s` is how often it is sampled."""

    label: str
    world: World
    every_s: float = 6 * 3600.0


class Ran(NamedTuple):
    """What is left of a world that has run: rows, facts that its scenario noted, and how far it came."""

    label: str
    rows: Sequence[dict[str, Any]]
    notes: dict[str, Any]
    events: int
    days: float
    complete: bool
    metrics: Metrics


class Judged(NamedTuple):
    """What a scenario came to: sentences for people, figures (those with a bound are expectations), charts."""

    sentences: Sequence[str]
    figures: Sequence[Figure]
    charts: Sequence[tuple[str, Chart]]
    """Each with the stem of its file."""


class Scenario(NamedTuple):
    """`parts(nodes, seed)` builds its worlds, each when the one before has run; `judge` looks at what they came to."""

    name: str
    about: str
    nodes: int
    """How many users it has when nothing else is said."""
    parts: Callable[[int, int], Iterator[Part]]
    judge: Callable[[Sequence[Ran]], Judged]


def column(rows: Sequence[dict[str, Any]], name: str, factor: float = 1.0) -> list[tuple[float, float]]:
    """The points (day, value) of one column, without those that are missing."""
    return [(row["day"], row[name] * factor) for row in rows if row.get(name) is not None]


def over(rows: Sequence[dict[str, Any]], part: str, whole: str) -> float:
    """The share of one sum of another; not a number when there is nothing."""
    total = sum(row[whole] for row in rows)
    return sum(row[part] for row in rows) / total if total else float("nan")
