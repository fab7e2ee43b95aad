"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from towpath.settings import Settings

__all__ = ["LEVELS", "Finding", "Level", "Running", "ok", "problem", "warning"]

Level = Literal["ok", "warning", "problem"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "warning", "problem")


@dataclass(frozen=True)
class Finding:
    """One thing that was found about a subject, and what to do about it (empty when it is well)."""

    subject: str
    level: Level
    what: str
    advice: str = ""
    settings: dict[str, object] = field(default_factory=dict)
    """What would mend it: settings by key, None for the default; empty when no setting does."""
    check: bool = False
    """Does asking other nodes, and the router, say more?"""


@dataclass(frozen=True)
class Running:
    """What is known of a node that runs."""

    pid: int
    listen: tuple[str, ...]
    """The multiaddrs on which it listens."""
    settings: Settings
    """Those it goes by."""


def ok(subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(subject, "ok", what)


def warning(
    subject: str, what: str, advice: str, *, settings: dict[str, object] | None = None, check: bool = False
) -> Finding:
    """It works, but not as it could."""
    return Finding(subject, "warning", what, advice, settings or {}, check)


def problem(subject: str, what: str, advice: str) -> Finding:
    """It does not work, or will not."""
    return Finding(subject, "problem", what, advice)
