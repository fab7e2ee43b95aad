"""Slander: 30% of all accounts are liars who want honest relays to look bad and their own to look good.

They pay honest relays a little and sign in each receipt that every circuit failed; they sign receipts for hundreds
of terabytes for one another. Judged are three numbers of each honest relay: the score that an honest client gives it,
which is made of that client's own measurements; what the client ranks by, into which receipts enter; and the
reputation that its owner is shown, which is what others say. The naive score is the mean of what everybody says.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.credits import walks
from towpath.credits.receipts import Receipt
from towpath.discovery.candidates import Measured
from towpath.discovery.outcomes import Outcome, noted
from towpath.discovery.selection import score_of
from towpath.reputation.own import own_reputation
from towpath.reputation.score import score
from towpath.sim.attacks.figures import Chart, Figure, Report, percentile
from towpath.sim.attacks.relays import candidate, ip_of, relay_id
from towpath.sim.attacks.work import MIB, Work, honest_work, known_to

__all__ = ["BOUND", "FULL", "LIARS", "SMALL", "Size", "run"]

BOUND: Final = 1.0
SHOWN: Final = 10.0
"""Of what an owner is shown and nothing is decided by: as far as honest voices differ among themselves."""
LIARS: Final = 0.3
_LIE: Final = 1 << 50
_DAY: Final = 20_000
_NOW: Final = _DAY * 86_400.0
_WORKS: Final = 0.97
_TRIES: Final = 60
_WORST: Final = 2**32 - 1


class Size(NamedTuple):
    """How many accounts there are, how many honest ones judge, with how many walks."""

    accounts: int
    judges: int
    walks: int


SMALL: Final = Size(accounts=120, judges=12, walks=4_000)
FULL: Final = Size(accounts=1_000, judges=200, walks=40_000)


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """Every number before and after the liars began."""
    work = honest_work(size.accounts, rng)
    accounts = sorted(work)
    liars = set(rng.sample(accounts, round(LIARS * size.accounts)))
    honest = [one for one in accounts if one not in liars]
    slandered = _slandered(work, liars)
    number = {one: place for place, one in enumerate(accounts)}
    scores: list[float] = []
    lowered: list[float] = []
    events = 0
    for place, judge in enumerate(rng.sample(honest, size.judges)):
        measured = {relay: _measured(rng) for relay in work[judge]}
        seed = rng.random()
        before, after = (
            walks.points(walks.rank(known_to(judge, known), judge, random.Random(seed), size.walks))
            for known in (work, slandered)
        )
        events += 2 * size.walks
        for relay, own in measured.items():
            if relay in liars:
                continue
            of = number[relay]
            judged = [
                candidate(relay_id("relay", of), ip_of(of), _NOW, own, walk=known.get(relay))
                for known in (before, after)
            ]
            first, second = (_own_score(one.own) for one in judged)
            scores.append(abs(float(first - second)))
            lowered.append(float(score_of(judged[0]) - score_of(judged[1])))
        told(0.8 * (place + 1) / size.judges)
    shown, naive = _reputations(size, work, liars, rng)
    events += sum(len(row) for row in work.values())
    told(1.0)
    figures = [
        Figure("honest relay's score by own measurements, most moved", max(scores), at_most=BOUND, unit="points"),
        Figure("honest relay's reputation as its owner sees it, most moved", max(shown), at_most=SHOWN, unit="points"),
        Figure("what is ranked by, lowered, median", percentile(lowered, 0.5), unit="points"),
        Figure("what is ranked by, lowered, 99 of 100", percentile(lowered, 0.99), unit="points"),
    ]
    chart = Chart(
        "Slander by 30% liars",
        "share of honest relays",
        "points lost",
        {
            "score by own measurements": _course(scores),
            "own reputation, as its owner sees it": _course(shown),
            "what is ranked by (with walks)": _course(lowered),
            "mean of what everybody says (naive)": _course(naive),
        },
        BOUND,
    )
    return Report(
        "slander",
        f"{size.accounts} accounts, {len(liars)} of them liars, {size.judges} judges",
        figures,
        [Figure("honest relay's score, mean of all claims, most moved", max(naive), at_most=BOUND, unit="points")],
        chart,
        events,
    )


def _slandered(work: Work, liars: set[bytes]) -> Work:
    # What liars owe honest relays they pay as little of as they can, and each other they sign for everything.
    found: dict[bytes, dict[bytes, int]] = {}
    for payer, row in work.items():
        if payer not in liars:
            found[payer] = dict(row)
            continue
        found[payer] = {relay: min(amount, MIB) for relay, amount in row.items() if relay not in liars}
        found[payer] |= {other: _LIE for other in sorted(liars) if other != payer}
    return found


def _measured(rng: random.Random) -> Measured:
    own = Measured()
    rtt = rng.uniform(20.0, 150.0)
    for tried in range(_TRIES):
        outcome = Outcome.SERVED if rng.random() < _WORKS else Outcome.FAILED
        own = noted(own, outcome, _NOW - (_TRIES - tried) * 21_600.0, rtt_ms=rtt)
    return own


def _own_score(own: Measured) -> int:
    return score(own.uptime, own.successful, own.failed, own.latency_ms)


def _reputations(size: Size, work: Work, liars: set[bytes], rng: random.Random) -> tuple[list[float], list[float]]:
    """How far the shown reputation of each honest relay moves, and how far the mean of all claims does."""
    number = {one: place for place, one in enumerate(sorted(work))}
    paid: dict[bytes, list[bytes]] = {}
    for payer, row in work.items():
        for relay in row:
            paid.setdefault(relay, []).append(payer)
    shown, naive = [], []
    for relay, payers in paid.items():
        true = [payer for payer in payers if payer not in liars]
        if relay in liars or len(true) < 3:
            continue
        of = relay_id("relay", number[relay])
        honest = [_receipt(of, payer, rng) for payer in true]
        lies = [
            Receipt(v=1, relay=of, payer=liar, day=_DAY, seq=1, cum_bytes=MIB, ok=0, fail=_WORST)
            for liar in rng.sample(sorted(liars), min(len(liars), round(len(true) * LIARS / (1 - LIARS))))
        ]
        before, after = (own_reputation(of, some, (), _DAY).score for some in (honest, [*honest, *lies]))
        shown.append(abs(float(before or 0) - float(after or 0)))
        claims = [receipt.ok / (receipt.ok + receipt.fail) for receipt in honest]
        naive.append(100 * (sum(claims) / len(claims) - sum(claims) / (len(claims) + len(lies))))
    return shown, naive


def _receipt(relay: bytes, payer: bytes, rng: random.Random) -> Receipt:
    failed = sum(rng.random() > _WORKS for _ in range(_TRIES))
    return Receipt(v=1, relay=relay, payer=payer, day=_DAY, seq=1, cum_bytes=MIB, ok=_TRIES - failed, fail=failed)


def _course(moved: list[float]) -> list[tuple[float, float]]:
    return [(share / 20, percentile(moved, share / 20)) for share in range(1, 21)]
