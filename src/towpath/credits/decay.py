"""How what was earned and spent fades: half of it in 30 days. Pure: times are passed in."""

from __future__ import annotations

from typing import Final

__all__ = ["CREDIT", "HALF_LIFE_S", "decayed"]

HALF_LIFE_S: Final = 30 * 86400.0
CREDIT: Final = 1 << 20
"""Bytes of one credit: 1 MiB relayed for somebody else and receipted."""


def decayed(amount: float, since: float, now: float) -> float:
    """What is left at `now` of an amount that stood at `since` (Unix times).

    Never more than `amount`, whatever a clock does: before `since` nothing has faded yet.
    """
    if now <= since:
        return amount
    return float(amount * 0.5 ** ((now - since) / HALF_LIFE_S))
