"""Where our account is served first when it is crowded, as the relays that we use say themselves. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

__all__ = ["Standing", "priority"]


class Standing(Protocol):
    """What a relay said of our account; see relaystream."""

    @property
    def priority(self) -> bool:
        """Is it served before others when it is crowded?"""


def priority(shown: bool, standings: Iterable[Standing | None]) -> dict[str, Any]:
    """What the owner sees: `priority_at` of the `told_by` relays that said how our account stands, and a sentence.

    `shown`: is the account shown to relays at all? `standings` are of the relays in use; None: it has not said.
    """
    said = [standing for standing in standings if standing is not None]
    first = sum(standing.priority for standing in said)
    return {"priority_at": first, "told_by": len(said), "sentence": _sentence(shown, first, len(said))}


def _sentence(shown: bool, first: int, said: int) -> str:
    if not shown:
        return "no priority: relay.priority_access is off, so relays don't know what you gave"
    if first:
        return f"priority at {first} {'relay' if first == 1 else 'relays'}"
    if said:
        where = "at the relay that you use" if said == 1 else f"at any of the {said} relays that you use"
        return f"no priority {where} yet: relaying for others earns it"
    return "no relay has said yet how your account stands"
