"""Which relay first: a pure function from candidates to a ranked list, each with its reasons.

A score is what we measured ourselves, and in part what others' evidence says. Equals are shuffled, so that not
everybody chooses the same relay, and newcomers are mixed in, because who is never tried is never measured.
"""

from __future__ import annotations

import functools
import ipaddress
import random
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from towpath.discovery.candidates import Candidate, Measured, ip_addresses
from towpath.discovery.outcomes import rest_left
from towpath.reputation.score import ranking, score, stars

__all__ = [
    "EXPLORE",
    "NOTHING",
    "Avoiding",
    "Placed",
    "Ranked",
    "Standing",
    "arranged",
    "asked_all_the_same",
    "diverse",
    "order",
    "rank",
    "score_of",
    "standing",
    "usable",
]

EXPLORE: Final = 0.25
"""How often a newcomer gets a place before relays that have proven themselves."""
BUCKET_MS: Final = 50.0
FULL: Final = 7
"""The load of a relay that has hardly any room."""

_NEWCOMER_TRIES: Final = 2.5
_GRADE: Final = 10.0
_LOAD_POINTS: Final = 3.0
_LAST_RESORT_S: Final = 60.0
_PROVEN, _NEWCOMER, _FALLBACK = range(3)
T = TypeVar("T")


class Avoiding(NamedTuple):
    """What not to choose: relays by id, networks (as `Candidate.networks`) and families in use, and neighbours.

    `near` are IP prefixes that others see us in: a relay there would show roughly where we are.
    """

    relays: frozenset[bytes] = frozenset()
    networks: frozenset[str] = frozenset()
    families: frozenset[str] = frozenset()
    near: tuple[str, ...] = ()


NOTHING: Final = Avoiding()


class Ranked(NamedTuple):
    """A candidate and what it was found worth. Not `usable`: it stands in the list to say why not."""

    candidate: Candidate
    score: int
    """0…100."""
    stars: int
    """0…5."""
    reasons: list[str]
    """Clauses, the most important first."""
    usable: bool = True


class Placed(NamedTuple):
    """A candidate in its place; what is said against it (nothing: it is usable), and what else explains the place."""

    candidate: Candidate
    against: Sequence[str] = ()
    notes: Sequence[str] = ()
    explored: bool = False
    """It stands before relays that have proven themselves, to be tried."""


class Standing(NamedTuple):
    """What of the place of a usable candidate nothing but the candidate decides: it may be kept until that changes."""

    tier: int
    """Proven, newcomer, or only when there is nobody else."""
    key: tuple[float, float, float]
    """Within the tier; smaller is better."""


def rank(
    candidates: Iterable[Candidate],
    now: float,
    rng: random.Random,
    avoiding: Avoiding = NOTHING,
    *,
    explore: float = EXPLORE,
) -> list[Ranked]:
    """All candidates in their `order`, each with its score and reasons."""
    return [_judged(one, now) for one in order(candidates, now, rng, avoiding, explore=explore)]


def order(
    candidates: Iterable[Candidate],
    now: float,
    rng: random.Random,
    avoiding: Avoiding = NOTHING,
    *,
    explore: float = EXPLORE,
) -> list[Placed]:
    """All candidates, the best first: volunteers, then bootstrap relays, then those that are not usable now.

    Who failed lately rests, and is asked all the same a minute later when there is nobody else. The same candidates
    in another order, the same time and an equal `rng` give the same list. `now` is Unix time.
    """
    # In an order of their own, so that `rng` alone decides among equals.
    ordered = sorted(candidates, key=_relay_id)
    against = [_against(candidate, avoiding) for candidate in ordered]
    resting = [rest_left(candidate.own, now) for candidate in ordered]
    nobody = not any(not told and left == 0 for told, left in zip(against, resting, strict=True))
    able: list[tuple[Standing, Placed]] = []
    unable: list[tuple[Standing, Placed]] = []
    for candidate, told, left in zip(ordered, against, resting, strict=True):
        own, stands = candidate.own, standing(candidate)
        if told and not left:
            unable.append((stands, Placed(candidate, told)))
        elif not left:
            able.append((stands, Placed(candidate)))
        elif not told and nobody and asked_all_the_same(own, now):
            note = f"{_why_it_rests(own)}: asked all the same, as there is no other"
            able.append((stands, Placed(candidate, (), (note,))))
        else:
            why = f"{_why_it_rests(own)}: not asked for another {_ago(left)}"
            unable.append((stands, Placed(candidate, (*told, why))))
    first = arranged(able, rng, explore=explore)
    last = _by_key(((stands.key, placed) for stands, placed in unable), rng)
    return [*(placed._replace(explored=True) if explored else placed for placed, explored in first), *last]


def standing(candidate: Candidate) -> Standing:
    """Where it stands while it is usable."""
    if candidate.source == "bootstrap":
        tier = _FALLBACK
    else:
        tier = _NEWCOMER if candidate.own.tries < _NEWCOMER_TRIES else _PROVEN
    return Standing(tier, _order(candidate))


def arranged(
    usable: Iterable[tuple[Standing, T]], rng: random.Random, *, explore: float = EXPLORE
) -> list[tuple[T, bool]]:
    """Usable ones, the best first, and of each whether it stands before proven ones to be tried."""
    tiers: tuple[list[tuple[tuple[float, ...], T]], ...] = ([], [], [])
    for (tier, key), one in usable:
        tiers[tier].append((key, one))
    proven, newcomers, fallback = (_by_key(rows, rng) if rows else [] for rows in tiers)
    return [*_mixed(proven, newcomers, rng, explore), *((one, False) for one in fallback)]


def asked_all_the_same(own: Measured, now: float) -> bool:
    """Is one that rests asked when there is nobody else?"""
    return now - max(own.failed_at, own.refused_at) >= _LAST_RESORT_S


def score_of(candidate: Candidate) -> int:
    """What it is worth, 0…100."""
    return min(100, max(0, int(_standing(candidate, candidate.own.latency_ms))))


def usable(candidate: Candidate, now: float, avoiding: Avoiding = NOTHING) -> bool:
    """Would it be used now, others or not?"""
    return rest_left(candidate.own, now) == 0 and not _against(candidate, avoiding)


def diverse(ranked: Sequence[Ranked], most: int, *, fill: bool = False) -> list[Ranked]:
    """The best usable ones of which no two share a network (/16, IPv6 /32) or a family, at most `most`.

    With `fill` the best of the others follow when there are too few of these.
    """
    chosen: list[Ranked] = []
    networks: set[str] = set()
    families: set[str] = set()
    for one in ranked:
        if len(chosen) >= most:
            break
        family = one.candidate.family
        if not one.usable or networks & one.candidate.networks or family in families:
            continue
        chosen.append(one)
        networks |= one.candidate.networks
        families |= set() if family is None else {family}
    if fill:
        rest = (one for one in ranked if one.usable and one not in chosen)
        chosen += [one for one, _ in zip(rest, range(most - len(chosen)), strict=False)]
    return chosen


def _relay_id(candidate: Candidate) -> bytes:
    return candidate.relay_id


def _by_key(rows: Iterable[tuple[tuple[float, ...], T]], rng: random.Random) -> list[T]:
    # Equals in a random order; their numbers only so that no two of them are ever compared themselves.
    drawn = sorted([(key, rng.random(), number, one) for number, (key, one) in enumerate(rows)])
    return [one for *_, one in drawn]


def _mixed(proven: list[T], newcomers: list[T], rng: random.Random, explore: float) -> list[tuple[T, bool]]:
    if not proven or not newcomers:
        return [(one, False) for one in proven or newcomers]
    mixed: list[tuple[T, bool]] = []
    first, new = list(reversed(proven)), list(reversed(newcomers))
    while first and new:
        if rng.random() < explore:
            mixed.append((new.pop(), True))
        else:
            mixed.append((first.pop(), False))
    mixed += [(one, False) for one in reversed(first)]
    mixed += [(one, False) for one in reversed(new)]
    return mixed


def _bucket(own: Measured) -> float:
    return float("inf") if own.latency_ms is None else own.latency_ms // BUCKET_MS


def _standing(candidate: Candidate, latency_ms: float | None) -> float:
    if candidate.fraud:
        return 0.0
    own = candidate.own
    return ranking(score(own.uptime, own.successful, own.failed, latency_ms), candidate.walk)


def _order(candidate: Candidate) -> tuple[float, float, float]:
    # Smaller is better. Latency counts by its bucket only: else everybody would choose the nearest relay of a city.
    own, advertisement = candidate.own, candidate.advertisement
    bucket = _bucket(own)
    middle = None if own.latency_ms is None else (bucket + 0.5) * BUCKET_MS
    load = 0 if advertisement is None else advertisement.load
    value = _standing(candidate, middle) * own.health - _LOAD_POINTS * load
    return (float(load >= FULL), -(value // _GRADE), bucket)


def _judged(placed: Placed, now: float) -> Ranked:
    candidate, against, notes, explored = placed
    own = candidate.own
    worth = score_of(candidate)
    reasons = [*against, *notes]
    if own.tries >= _NEWCOMER_TRIES:
        worked = f"{own.successful:.0f} of {own.tries:.0f} tries worked"
        reasons.append(f"{worked}, up {_percent(own.uptime)} of the time")
    else:
        reasons.append("new to us: hardly tried yet" if own.observed_at else "new to us: never tried")
    if own.latency_ms is not None:
        low = int(_bucket(own) * BUCKET_MS)
        reasons.append(f"{own.latency_ms:.0f} ms away ({low} to {low + int(BUCKET_MS)} ms count alike)")
    if own.failing and not against and not notes:
        reasons.append(f"failed {_times(own.failing)} in a row, last {_ago(now - own.failed_at)} ago")
    if candidate.walk is not None:
        reasons.append(f"{candidate.walk:.0f} of 100 by what others have receipts for")
    advertisement = candidate.advertisement
    if advertisement is not None:
        room = ": hardly any room" if advertisement.load >= FULL else ""
        reasons.append(f"load {advertisement.load} of {FULL}{room}")
    if candidate.source == "bootstrap":
        reasons.append("named in discovery.bootstrap: used when no volunteer will do")
    elif candidate.source == "mdns":
        reasons.append("found on the local network")
    if explored:
        reasons.append("stands here to be tried")
    return Ranked(candidate, worth, stars(worth), reasons, not against)


def _against(candidate: Candidate, avoiding: Avoiding) -> list[str]:
    """Why it is not to be used, whatever it does; empty when it may be."""
    told: list[str] = []
    if not candidate.addresses:
        told.append("no address of it is known that we may dial")
    if candidate.relay_id in avoiding.relays:
        told.append("in use already, or not wanted")
    if avoiding.networks:
        for shared in sorted(candidate.networks & avoiding.networks):
            told.append(f"in {shared}, as a relay in use is: both might fail, or look, together")
    if candidate.family is not None and candidate.family in avoiding.families:
        told.append(f"of the family {candidate.family!r}, as a relay in use is")
    if _is_near(candidate, avoiding.near):
        told.append("so near that it would show where we are")
    advertisement = candidate.advertisement
    if advertisement is not None and advertisement.withdrawn:
        told.append("it says that it relays no more")
    if candidate.fraud:
        told.append("its account signed two receipts that contradict each other")
    return told


def _why_it_rests(own: Measured) -> str:
    if own.failing:
        return f"failed {_times(own.failing)} in a row"
    if own.unsure:
        return "no answer, as from nobody else"
    return "failed too often lately" if own.failed_at >= own.refused_at else "refused us"


def _is_near(candidate: Candidate, near: tuple[str, ...]) -> bool:
    if not near:
        return False
    prefixes = _prefixes(near)
    return any(
        ip in prefix for ip in ip_addresses(candidate.addresses) for prefix in prefixes if prefix.version == ip.version
    )


@functools.lru_cache(maxsize=16)
def _prefixes(near: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in near)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _percent(share: float) -> str:
    return f"{int(share * 100)}%"


def _ago(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
