"""The score of a relay and what stands beside it. Pure: numbers in, numbers out; selection and the simulator ask it.

A score is 0…100 and comes from one's own measurements alone. What others say enters only the ranking, as the walk
score, which is made of receipts; nobody's words do.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["WALK", "PeerStats", "RelayReputation", "ranking", "score", "stars"]

WALK: Final = 0.4
"""What the walk score counts in the ranking where there is one; the own score counts the rest."""
_UPTIME: Final = 40
_SUCCESS: Final = 40
_NEAR_MS: Final = 5.0


class RelayReputation(msgspec.Struct, frozen=True, kw_only=True):
    """What we measured of one relay ourselves. What has no measurement yet counts nothing."""

    successful_circuits: float = 0.0
    """Things tried that were served. Half of it fades in 30 days, so it is no whole number."""
    failed_circuits: float = 0.0
    uptime_percentage: float = 0.0
    """0…100."""
    avg_latency_ms: float | None = None
    bandwidth_contributed_mb: float = 0.0
    """Megabytes (10^6 bytes) that it relayed for us. They are told, and are no part of the score."""

    @property
    def score(self) -> int:
        """0…100."""
        share = self.uptime_percentage / 100
        return score(share, self.successful_circuits, self.failed_circuits, self.avg_latency_ms)

    @property
    def stars(self) -> int:
        """0…5."""
        return stars(self.score)


class PeerStats(msgspec.Struct, frozen=True, kw_only=True):
    """What passed between us and one peer, and how it stands with us."""

    bytes_relayed_for_me: int = 0
    bytes_relayed_by_me: int = 0
    reputation: int | None = None
    """Its score, 0…100; None: it never relayed for us."""


def score(uptime: float, successful: float, failed: float, avg_latency_ms: float | None) -> int:
    """0…100 from one's own measurements; `uptime` in 0…1. A part without a measurement counts 0."""
    # 100 / latency, at most 20.
    near = 0.0 if avg_latency_ms is None else 100.0 / (avg_latency_ms if avg_latency_ms > _NEAR_MS else _NEAR_MS)
    tries = successful + failed
    return int(uptime * _UPTIME + successful / (tries if tries > 1 else 1) * _SUCCESS + near)


def stars(of: float) -> int:
    """A score as 0…5 stars."""
    return round(of / 20)


def ranking(own: float, walk: float | None) -> float:
    """What selection ranks by, 0…100: the own score, and the walk score (0…100) where others' receipts give one."""
    return own if walk is None else (1 - WALK) * own + WALK * walk
