"""How long another Python thread may keep the interpreter while any node of this process relays."""

from __future__ import annotations

import sys
from typing import ClassVar, Final

__all__ = ["SHORT_S", "hasten", "relax"]

SHORT_S: Final = 0.0001
"""Python's default is 5 ms: a busy thread would stall circuits for as long at every turn."""


class _Process:
    """The interval belongs to the process, so this does, too."""

    relaying: ClassVar[int] = 0
    usual_s: ClassVar[float] = 0.0


def hasten() -> None:
    """One node more relays."""
    if _Process.relaying == 0:
        _Process.usual_s = sys.getswitchinterval()
        sys.setswitchinterval(min(_Process.usual_s, SHORT_S))
    _Process.relaying += 1


def relax() -> None:
    """One node less relays; with the last one the interval is what it was before the first."""
    _Process.relaying -= 1
    if _Process.relaying == 0:
        sys.setswitchinterval(_Process.usual_s)
