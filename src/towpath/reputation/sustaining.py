"""Can the bootstrap relays be switched off? What a node, or the simulator, says to that from what it sees. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = [
    "BOOTSTRAP",
    "FEW_CIRCUITS",
    "MOST_BOOTSTRAP",
    "SPARE",
    "TOP_HALF",
    "Indicator",
    "Room",
    "self_sustaining",
    "spare_capacity",
    "top_half",
]

BOOTSTRAP: Final = "bootstrap"
"""The source of circuits that do not count: relays that somebody runs so that the network may begin."""
FEW_CIRCUITS: Final = 20
"""With fewer circuits nothing can be said."""
MOST_BOOTSTRAP: Final = 0.05
"""The share of circuits that may still need a bootstrap relay."""
SPARE: Final = 0.3
"""The share of the volunteers' capacity that is to be free, so that they can take what bootstrap relays carry."""
TOP_HALF: Final = 3
"""With half of all capacity at fewer relays than so many, one of them that goes away is missed."""


class Room(NamedTuple):
    """One relay: how much it takes (of whatever, the same for all), and how much of that is in use, 0…1."""

    capacity: float
    load: float


class Indicator(NamedTuple):
    """What is seen, and what follows from it."""

    self_sustaining: bool | None
    """None: too little is seen to say."""
    share_by_source: dict[str, float]
    """Of the circuits made, 0…1 for each source."""
    spare_capacity: float | None
    """The part of what volunteers take that is free, 0…1; None: no volunteer is known."""
    relays: int
    """Volunteers that could be used."""
    relays_in_top_half: int
    """The fewest of them that have half of the capacity between them."""
    sentence: str
    missing: list[str]
    """Clauses: what stands against it."""

    def told(self) -> dict[str, Any]:
        """As the status has it."""
        spare = self.spare_capacity
        return self._asdict() | {
            "share_by_source": {source: round(share, 3) for source, share in self.share_by_source.items()},
            "spare_capacity": None if spare is None else round(spare, 3),
        }


def top_half(amounts: Iterable[float]) -> int:
    """The fewest of some amounts that sum up to half of all; 0 of nothing."""
    ordered = sorted((amount for amount in amounts if amount > 0), reverse=True)
    half, sum_ = sum(ordered) / 2, 0.0
    for number, amount in enumerate(ordered, 1):
        sum_ += amount
        if sum_ >= half:
            return number
    return len(ordered)


def spare_capacity(rooms: Iterable[Room]) -> float | None:
    """The part of some relays' capacity that is free, 0…1; None when there is none at all."""
    rooms = [room for room in rooms if room.capacity > 0]
    whole = sum(room.capacity for room in rooms)
    return sum(room.capacity * (1 - min(1.0, max(0.0, room.load))) for room in rooms) / whole if whole else None


def self_sustaining(circuits: Mapping[str, float], volunteers: Sequence[Room]) -> Indicator:
    """Would the network stand without its bootstrap relays?

    `circuits` counts those made lately by the source of their relay, BOOTSTRAP among them; `volunteers` are the relays
    of other sources that could be used now.
    """
    made = sum(circuits.values())
    share = {source: number / made for source, number in sorted(circuits.items()) if number} if made else {}
    spare, top = spare_capacity(volunteers), top_half(room.capacity for room in volunteers)
    needed = share.get(BOOTSTRAP, 0.0)
    missing = []
    if made and needed > MOST_BOOTSTRAP:
        missing.append(f"{needed:.0%} of the circuits needed a bootstrap relay (at most {MOST_BOOTSTRAP:.0%} should)")
    if spare is None:
        missing.append("no volunteer's relay is known")
    elif spare < SPARE:
        missing.append(f"volunteers have {spare:.0%} of their capacity free (at least {SPARE:.0%} should be)")
    if spare is not None and top < TOP_HALF:
        at = "1 relay has" if top == 1 else f"{top} relays have"
        missing.append(f"{at} half of the capacity (at least {TOP_HALF} should share it)")
    too_few = made < FEW_CIRCUITS
    holds = None if too_few and not missing else not missing
    if holds is None:
        sentence = f"not to be said yet: {made:.0f} circuits were seen, {FEW_CIRCUITS} are needed"
    elif holds:
        sentence = "yes: bootstrap relays could be switched off"
    else:
        sentence = f"no: {'; '.join(missing)}"
    return Indicator(holds, share, spare, len(volunteers), top, sentence, missing)
