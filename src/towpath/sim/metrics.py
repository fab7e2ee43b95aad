"""What a run is measured by: counters, and what users felt, sampled into rows of one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from towpath.sim.world import World

__all__ = ["Metrics", "quantile"]

_KEPT: Final = 20_000
"""Values of one kind that are kept between two samples; of more a random choice."""


def quantile(values: Sequence[float], part: float) -> float | None:
    """The value below which `part` of the sorted values lie; None of none."""
    if not values:
        return None
    return values[min(len(values) - 1, int(part * len(values)))]


class Metrics:
    """Counters only grow; a row holds what they grew by since the row before it, and how things stand."""

    COUNTERS: Final = (
        "wanted",
        "away",
        "circuits",
        "by_volunteers",
        "by_bootstrap",
        "refused",
        "no_way",
        "cut",
        "resumed",
        "broken",
        "finished",
        "sessions",
        "reserved",
        "unreserved",
        "searches",
        "bytes_volunteers",
        "bytes_bootstrap",
    )

    def __init__(self) -> None:
        self.wanted = 0
        """Circuits that users tried to open to a peer that was there."""
        self.away = 0
        """Acts for which no contact was there: nobody's fault."""
        self.circuits = 0
        self.by_volunteers = 0
        self.by_bootstrap = 0
        self.refused = 0
        """Circuits that every relay of the peer refused, for want of room, credit or free tier."""
        self.no_way = 0
        """Circuits for which the peer was at no relay that could be reached."""
        self.cut = 0
        """Circuits whose relay went away."""
        self.resumed = 0
        """Of those, how many went on elsewhere."""
        self.broken = 0
        """And how many did not."""
        self.finished = 0
        self.sessions = 0
        self.reserved = 0
        """Sessions that began with a reservation at once."""
        self.unreserved = 0
        self.searches = 0
        self.bytes_volunteers = 0
        self.bytes_bootstrap = 0
        self.reasons: dict[str, int] = {}
        """How often relays refused circuits, by reason."""
        self.setup_s: list[float] = []
        self.gap_s: list[float] = []
        self.reserve_s: list[float] = []
        self.speed: list[float] = []
        """Of finished transfers: what they got of what their ends' lines could have carried, 0…1."""
        self.rows: list[dict[str, Any]] = []
        self._before: dict[str, int] = dict.fromkeys(self.COUNTERS, 0)

    def felt(self, values: list[float], value: float, world: World) -> None:
        """Keeps one value, or puts it in the place of another one."""
        if len(values) < _KEPT:
            values.append(value)
        else:
            values[int(world.engine.rng.random() * _KEPT)] = value

    def sample(self, world: World) -> dict[str, Any]:
        """One more row."""
        now = {name: getattr(self, name) for name in self.COUNTERS}
        row: dict[str, Any] = {"day": round((world.engine.now - world.begin) / 86400.0, 4)}
        row |= {name: now[name] - self._before[name] for name in self.COUNTERS}
        self._before = now
        row |= world.standing()
        row["success"] = _share(row["circuits"], row["circuits"] + row["refused"] + row["no_way"])
        row["bootstrap_share"] = _share(row["by_bootstrap"], row["circuits"])
        for name, values in (("setup", self.setup_s), ("gap", self.gap_s), ("reserve", self.reserve_s)):
            values.sort()
            row[f"{name}_p50_s"] = _rounded(quantile(values, 0.5))
            row[f"{name}_p95_s"] = _rounded(quantile(values, 0.95))
            values.clear()
        self.speed.sort()
        row["speed_p50"], row["speed_p5"] = _rounded(quantile(self.speed, 0.5)), _rounded(quantile(self.speed, 0.05))
        self.speed.clear()
        self.rows.append(row)
        return row

    def total(self, name: str, rows: Iterable[dict[str, Any]] | None = None) -> float:
        """The sum of a column, of all rows or of some."""
        return sum(row[name] or 0 for row in (self.rows if rows is None else rows))


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 5) if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
