"""Counters over time: per minute for 48 hours, per hour for 90 days, per day for ever.

An amount lives in exactly one row: rolling up adds old rows to the coarser row they belong to and deletes them, in
one transaction. So nothing is counted twice or lost whatever the clock does, and a sum over all rows is the total.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

__all__ = ["DAY", "HOUR", "MINUTE", "add", "roll", "series", "sums"]

MINUTE: Final = 60
HOUR: Final = 3_600
DAY: Final = 86_400
_KEPT: Final = ((MINUTE, HOUR, 48 * HOUR), (HOUR, DAY, 90 * DAY))
"""Rows of a span, what they become, and the age at which they do."""
_FOREVER: Final = 1 << 62


def add(connection: sqlite3.Connection, minutes: Mapping[int, Mapping[str, int]]) -> None:
    """Adds the amounts of these minutes; inside the caller's transaction."""
    connection.executemany(
        "INSERT INTO counters VALUES (60, ?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
        [(at, name, amount) for at, amounts in minutes.items() for name, amount in amounts.items()],
    )


def roll(connection: sqlite3.Connection, now: float) -> None:
    """Rolls up what is old at Unix time `now`."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for span, coarser, age in _KEPT:
            before = int(now - age) // coarser * coarser
            connection.execute(
                "INSERT INTO counters SELECT ?1, at - at % ?1, name, sum(value) FROM counters"
                " WHERE span = ?2 AND at < ?3 GROUP BY at - at % ?1, name"
                " ON CONFLICT DO UPDATE SET value = value + excluded.value",
                (coarser, span, before),
            )
            connection.execute("DELETE FROM counters WHERE span = ? AND at < ?", (span, before))


def sums(connection: sqlite3.Connection, start: int, end: int | None) -> dict[str, int]:
    """Each counter's sum over the rows that begin in [start, end)."""
    return dict(
        connection.execute(
            "SELECT name, sum(value) FROM counters WHERE at >= ? AND at < ? GROUP BY name",
            (start, _FOREVER if end is None else end),
        )
    )


def series(connection: sqlite3.Connection, start: int, step: int) -> dict[int, dict[str, int]]:
    """Each counter's sum for every `step` seconds (a multiple of 60) that hold anything, from `start` on."""
    found: dict[int, dict[str, int]] = {}
    rows = connection.execute(
        "SELECT at - at % ?1, name, sum(value) FROM counters WHERE span IN (60, 3600) AND at >= ?2"
        " GROUP BY at - at % ?1, name",
        (step, start),
    )
    for at, name, amount in rows:
        found.setdefault(at, {})[name] = amount
    return found
