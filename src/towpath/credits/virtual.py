"""Credit without receipts: what relays that we probe have with us, and what the operator gives. Pure.

A relay that uses no relay itself owes nobody anything, and would have no credit to give on. So each relay that it has
probed for a week is owed one free tier, one relay of each network; it is used up as any other credit is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from towpath.settings.entries import read_account_size

__all__ = ["LEAST_DAYS", "MAX_EDGES", "Probed", "given_edges"]

LEAST_DAYS: Final = 7.0
MAX_EDGES: Final = 1000


class Probed(NamedTuple):
    """A relay that we probe."""

    relay: bytes
    account: bytes | None
    """As its advertisement says, which it signed."""
    days: float
    """Since when it has been probed, and answered for the most part."""
    network: str
    """Its /16, or /32 of IPv6."""


def given_edges(probed: Iterable[Probed], tier: int | None, trust: Sequence[str]) -> dict[bytes, int]:
    """The accounts that we owe without a receipt, with the bytes: those of `credits.trust`, then those probed.

    `tier` is the free tier; None: it is unlimited, and nobody needs credit.
    """
    edges = dict(read_account_size(entry) for entry in trust)
    networks: set[str] = set()
    for one in sorted(probed, key=lambda one: (-one.days, one.relay)):
        if tier is None or one.account is None or one.days < LEAST_DAYS or one.network in networks:
            continue
        networks.add(one.network)
        edges.setdefault(one.account, tier)
    return dict(list(edges.items())[:MAX_EDGES])
