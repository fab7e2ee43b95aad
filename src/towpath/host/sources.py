"""Sources: what on this machine may keep a node from relaying. Each watches one thing and says whether it does.

A source lives on the node's loop. It costs nothing before `start`; a node starts only those that a setting needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from towpath.settings import RelaySettings

__all__ = ["Makers", "Source", "Verdict", "needed", "of_this_machine"]


class Verdict(NamedTuple):
    """Does it keep the node from relaying, and a clause that says what was seen."""

    blocks: bool
    why: str = ""


class Source(Protocol):
    """One thing that is watched."""

    def verdict(self) -> Verdict:
        """What holds now; at once."""

    async def start(self, changed: Callable[[], None]) -> None:
        """Watches from now on; `changed` is called when the verdict is another."""

    async def stop(self) -> None:
        """Watches no more."""


Makers = Mapping[str, Callable[[], Source]]
"""How the source of a kind (`idle`, `battery`, `metered`) is made."""


def needed(settings: RelaySettings) -> set[str]:
    """The kinds of sources that these settings depend on."""
    if not settings.mode.relays:
        return set()
    asked = {"idle": settings.only_when_idle, "battery": not settings.on_battery, "metered": not settings.on_metered}
    return {kind for kind, wanted in asked.items() if wanted}


def of_this_machine() -> Makers:
    """The sources that look at this machine; what they need is imported when they start."""

    def idle() -> Source:
        from towpath.host.idle import IdleSource

        return IdleSource()

    def battery() -> Source:
        from towpath.host.battery import BatterySource

        return BatterySource()

    def metered() -> Source:
        from towpath.host.metered import MeteredSource

        return MeteredSource()

    return {"idle": idle, "battery": battery, "metered": metered}
