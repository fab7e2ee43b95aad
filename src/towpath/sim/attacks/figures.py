"""What an attack came to: figures with their bounds, the same under a naive rule, and the lines of one plot. Pure.

A figure without a bound is told and judged by nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Chart", "Figure", "Report", "exactly", "median", "percentile"]

Points = Sequence[tuple[float, float]]


class Figure(NamedTuple):
    """One number. `at_most` and `at_least` are what it must keep to; without either it is only told."""

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def bounded(self) -> bool:
        """Can it fail?"""
        return self.at_most is not None or self.at_least is not None

    @property
    def holds(self) -> bool:
        """Does it keep to its bound? What is no number never does."""
        if not self.bounded:
            return True
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= self.value <= high

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        told = f"{self.name}: {_number(self.value)}{unit}"
        if not self.bounded:
            return told
        if self.at_most is not None and self.at_least is not None:
            bound = f"between {_number(self.at_least)} and {_number(self.at_most)}"
        elif self.at_most is not None:
            bound = f"at most {_number(self.at_most)}"
        else:
            bound = f"at least {_number(self.at_least or 0.0)}"
        return f"{told} ({'within' if self.holds else 'MISSES'} the bound, {bound}{unit})"


class Chart(NamedTuple):
    """One plot: lines by their names, and a bound drawn across."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Points]
    bound: float | None = None
    log_x: bool = False
    log_y: bool = False
    bars: bool = False
    """The x of every point is a number of a bar, from 0; its name stands in `ticks`."""
    ticks: Sequence[str] = ()


class Report(NamedTuple):
    """What one attack came to."""

    attack: str
    size: str
    """How large it was, in words."""
    figures: Sequence[Figure]
    """With the node's own rules."""
    naive: Sequence[Figure]
    """The same attack on a rule that one might take instead; each breaks its bound, or the attack tests nothing."""
    chart: Chart
    events: int = 0
    """What was simulated, in events: requests, walks, records, circuits; the row says which."""

    @property
    def holds(self) -> bool:
        """Does every figure keep to its bound?"""
        return all(figure.holds for figure in self.figures)

    @property
    def bites(self) -> bool:
        """Does the attack break every naive rule? An attack that breaks nothing shows nothing."""
        return bool(self.naive) and not any(figure.holds for figure in self.naive if figure.bounded)

    def lines(self) -> list[str]:
        """For people, a line each."""
        told = [f"{self.attack}, {self.size}: {self.events} events"]
        told += [f"  {figure}" for figure in self.figures]
        told += [f"  by a naive rule: {figure}" for figure in self.naive]
        return told

    def rows(self) -> list[dict[str, object]]:
        """The figures as rows of a table."""
        return [
            {
                "attack": self.attack,
                "rule": rule,
                "figure": figure.name,
                "value": figure.value,
                "at_least": figure.at_least,
                "at_most": figure.at_most,
                "unit": figure.unit,
                "holds": figure.holds,
            }
            for rule, some in (("node", self.figures), ("naive", self.naive))
            for figure in some
        ]


def exactly(value: float, of: float) -> float:
    """`value / of`; infinite when there is nothing to compare it with, and 1 when neither is anything."""
    if of:
        return value / of
    return math.inf if value else 1.0


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest of the values that at least `share` (0…1) of them do not exceed; not a number without values."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return percentile(values, 0.5)


def _number(value: float) -> str:
    if value != value or math.isinf(value) or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
