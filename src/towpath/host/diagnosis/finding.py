"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
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


def warning(subject: str, what: str, advice: str) -> Finding:
    """It works, but not as it could."""
    return Finding(subject, "warning", what, advice)


def problem(subject: str, what: str, advice: str) -> Finding:
    """It does not work, or will not."""
    return Finding(subject, "problem", what, advice)
