"""What follows from what others saw and say: which addresses of ours are worth a question, whom to ask, and when an
address counts as confirmed. Pure functions; the clock and chance are passed in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from towpath.internet import prefix_of
from towpath.reachability.networks import Ip, Place
from towpath.waiting import doubled

__all__ = [
    "CANDIDATES",
    "SERVERS",
    "Candidate",
    "Origin",
    "Server",
    "Sighting",
    "State",
    "Vote",
    "candidates",
    "choose",
    "judge",
    "lasts",
    "pace",
    "rest",
    "settled",
]

SERVERS: Final = 3
"""How many are asked about an address."""
CANDIDATES: Final = 6
"""How many addresses are asked about."""
_WITNESSES: Final = 2
"""Networks that must have seen an address before it is worth a question."""

_CONFIRMED_S: Final = 1800.0
_LASTS_S: Final = 7200.0
_SOON_S: Final = 1.0
"""From what calls for a round to the round: what comes together is looked at together."""
_BURST: Final = 5
_BURST_S: Final = 180.0
"""Rounds, and the seconds in which there may be so many."""
_FIRST_S: Final = 120.0
_LAST_S: Final = 3600.0


class State(StrEnum):
    """What is known of this node."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"


class Origin(StrEnum):
    """Where an address comes from."""

    MAPPED = "mapped"
    """The router forwards it to this machine."""
    OWN = "own"
    """This machine has it."""
    OBSERVED = "observed"
    """Others saw this machine there."""


class Candidate(NamedTuple):
    """An address that may be reachable."""

    place: Place
    origin: Origin


class Sighting(NamedTuple):
    """A peer told where it saw us."""

    witness: Ip
    place: Place
    inbound: bool
    """It had connected to us: then the port is one that leads here."""


class Server(NamedTuple):
    """A peer that speaks AutoNAT v2, and where it is."""

    peer_id: bytes
    ip: Ip


class Vote(NamedTuple):
    """What a server says of an address: reached or not; None when it says neither."""

    server: Server
    reached: bool | None
    why: str


def candidates(
    listening: Sequence[Place],
    mapped: Sequence[Place],
    sightings: Iterable[Sighting],
    public: Callable[[Ip], bool],
) -> list[Candidate]:
    """Public addresses worth a question, the likeliest first.

    An address that was only seen counts once two networks saw it, with the ports that are listened on and those that
    two networks came in by; a witness in the network it tells of does not count.
    """
    found = [Candidate(place, Origin.OWN) for place in listening if public(place.ip)]
    found += [Candidate(place, Origin.MAPPED) for place in mapped if public(place.ip)]
    seen: dict[Ip, set[bytes]] = {}
    reached: dict[Place, set[bytes]] = {}
    for witness, place, inbound in sightings:
        if public(place.ip) and prefix_of(witness) != prefix_of(place.ip):
            seen.setdefault(place.ip, set()).add(prefix_of(witness))
            if inbound:
                reached.setdefault(place, set()).add(prefix_of(witness))
    for ip, networks in sorted(seen.items(), key=lambda item: -len(item[1])):
        if len(networks) >= _WITNESSES:
            # The port that one peer names takes no other's place: it may lie.
            guesses = [Place(ip, own.port) for own in listening if own.ip.version == ip.version]
            named = [place for place, by in reached.items() if place.ip == ip and len(by) >= _WITNESSES]
            found += [Candidate(place, Origin.OBSERVED) for place in (*guesses, *named)]
    first: dict[Place, Candidate] = {}
    for candidate in found:
        first.setdefault(candidate.place, candidate)
    return list(first.values())[:CANDIDATES]


def choose(
    servers: Sequence[Server], ours: Iterable[Ip], public: Callable[[Ip], bool], chance: random.Random
) -> list[Server]:
    """Whom to ask: one for each network, in random order, none at an address of ours: it is not outside."""
    mine = set(ours)
    shuffled = list(servers)
    chance.shuffle(shuffled)
    found: dict[bytes, Server] = {}
    for server in shuffled:
        if public(server.ip) and server.ip not in mine:
            found.setdefault(prefix_of(server.ip), server)
    return list(found.values())


def judge(votes: Iterable[Vote]) -> bool | None:
    """The majority of those who say something; None when there is none."""
    said = [vote.reached for vote in votes if vote.reached is not None]
    if 2 * sum(said) > len(said):
        return True
    return False if 2 * sum(said) < len(said) else None


def settled(votes: Sequence[Vote]) -> bool:
    """Can no further server, of `SERVERS` that say something, change the verdict?"""
    said = [vote.reached for vote in votes if vote.reached is not None]
    return max(sum(said), len(said) - sum(said)) * 2 > SERVERS


def lasts(reached: bool | None, since: float, now: float) -> bool:
    """Does an earlier confirmation still hold when nobody says anything now?"""
    return reached is True and now - since < _LASTS_S


def pace(rounds: Sequence[float], now: float) -> float:
    """Seconds to wait before another round, given when the last ones began: peers that tell ever new things must not
    make this node ask without end.
    """
    recent = sorted(at for at in rounds if now - at < _BURST_S)
    if len(recent) < _BURST:
        return _SOON_S
    return max(_SOON_S, recent[-_BURST] + _BURST_S - now)


def rest(state: State, fruitless: int, chance: random.Random) -> float:
    """Seconds until all is asked again, `fruitless` rounds in a row having brought no confirmation."""
    if state is State.REACHABLE:
        return _CONFIRMED_S * chance.uniform(0.8, 1.2)
    return doubled(_FIRST_S, _LAST_S, fruitless) * chance.uniform(0.8, 1.2)
