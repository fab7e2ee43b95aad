"""Waiting longer after each failure in a row, and not all at the same moment. Pure."""

from __future__ import annotations

from typing import Final

__all__ = ["doubled", "spread"]

_MOST: Final = 16
"""Doublings, so that no count makes a number overflow."""


def doubled(first: float, longest: float, times: int) -> float:
    """`first` seconds, doubled so many times, at most `longest`."""
    return min(longest, first * 2.0 ** min(times, _MOST))


def spread(wait: float, jitter: float) -> float:
    """Some of `wait`: half of it to all of it, as `jitter` goes from 0 to 1."""
    return wait * (0.5 + 0.5 * jitter)
