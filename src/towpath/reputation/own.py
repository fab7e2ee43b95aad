"""A node's own reputation, as its owner sees it: what the receipts and digests of others say of its relay. Pure.

It is told to nobody and decides nothing: who signs receipts for us can say whatever it likes in them, and each payer
has one voice, however much it paid.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from towpath.reputation.score import stars

if TYPE_CHECKING:
    from towpath.credits.receipts import Receipt
    from towpath.reputation.digest import Digest

__all__ = ["DAYS", "OwnReputation", "own_reputation"]

DAYS: Final = 30
"""Days that count, today included."""


class OwnReputation(NamedTuple):
    """What others say."""

    score: int | None
    """0…100; None: nobody said anything."""
    stars: int | None
    peers: int
    """How many payers say something."""
    parts: list[str]
    """Clauses: what it is made of."""


def own_reputation(relay: bytes, receipts: Iterable[Receipt], digests: Iterable[Digest], today: int) -> OwnReputation:
    """What is said of `relay` (a peer id) by receipts paid to it and by digests, of the last DAYS days.

    Of each payer the share of its circuits that worked, and of these shares the middle one, so that a minority that
    lies moves it hardly at all; who paid and counted no circuit was served.
    """
    since = today - DAYS
    worked: dict[bytes, list[int]] = {}
    for receipt in receipts:
        if receipt.relay == relay and since < receipt.day <= today + 1:
            counted = worked.setdefault(receipt.payer, [0, 0])
            counted[0] += receipt.ok
            counted[1] += receipt.fail
    peers = len(worked)
    if not peers:
        return OwnReputation(None, None, 0, [])
    shares = sorted(ok / (ok + failed) if ok + failed else 1.0 for ok, failed in worked.values())
    worth = int(round(50 * (shares[(peers - 1) // 2] + shares[peers // 2]), 6))
    ok, circuits = (sum(counts) for counts in zip(*((ok, ok + failed) for ok, failed in worked.values()), strict=True))
    parts = [f"{ok / circuits:.0%} of {circuits} circuits worked"] if circuits else []
    parts.append(f"{_peers(peers)} signed receipts for it in the last {DAYS} days")
    # A digest is believed as far as the receipt behind it goes, and that we would have ourselves.
    told = worked.keys() & {
        digest.payer for digest in digests if digest.day > since and any(paid == relay for paid, _ in digest.paid)
    }
    if told:
        parts.append(f"{len(told)} of them told others so")
    return OwnReputation(worth, stars(worth), peers, parts)


def _peers(number: int) -> str:
    return "1 peer" if number == 1 else f"{number} peers"
