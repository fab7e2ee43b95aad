"""Every setting as the control API tells it: enough for a form to be made of it."""

from __future__ import annotations

from typing import Any, Final

from towpath.live_settings import WAITING
from towpath.settings import Settings
from towpath.settings.entries import ItemList
from towpath.settings.schedule import ScheduleKind
from towpath.settings.schema import KEYS, MODES
from towpath.settings.values import (
    AUTO,
    NONE,
    Bool,
    Choice,
    Count,
    FilePath,
    Kind,
    ListenAt,
    Rate,
    Size,
    Time,
)

__all__ = ["KINDS", "settings_rows"]

KINDS: Final[dict[type, str]] = {
    Bool: "switch",
    Choice: "choice",
    Count: "count",
    Size: "size",
    Rate: "rate",
    Time: "time",
    ItemList: "list",
    ScheduleKind: "schedule",
    ListenAt: "listen",
    FilePath: "path",
}


def settings_rows(settings: Settings) -> dict[str, dict[str, Any]]:
    """A row of each key, by its name."""
    return {
        name: {
            "value": settings.written(name),
            "default": key.kind.write(key.default(settings.relay.mode)),
            "source": settings.source(name),
            "allowed": key.kind.allowed,
            "meaning": key.meaning,
            "in_effect": not key.later,
            "kind": KINDS[type(key.kind)],
            "words": _words(key.kind),
            "defaults": {mode: key.kind.write(key.default(mode)) for mode in MODES},
            "restart": name.startswith(WAITING),
        }
        for name, key in KEYS.items()
    }


def _words(kind: Kind) -> list[str]:
    if isinstance(kind, Choice):
        return list(kind.words)
    if isinstance(kind, ListenAt | FilePath):
        return [NONE]
    if isinstance(kind, Count | Size | Rate | Time):
        return [word for word, is_one in ((AUTO, kind.auto), ("unlimited", kind.unlimited)) if is_one]
    return []
