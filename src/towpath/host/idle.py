"""Does somebody use this machine? logind's IdleHint; else the terminals' last use; else unknown, which is in use."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from towpath.host.bus import Property
from towpath.host.sources import Verdict
from towpath.host.watching import WatchedSource

__all__ = ["IDLE_S", "IdleSource", "last_use"]

IDLE_S: Final = 300.0
"""A terminal that nobody typed at for so long is idle."""
_IN_USE: Final = Verdict(True, "somebody uses this machine")
_IDLE: Final = Verdict(False, "nobody uses this machine")


class IdleSource(WatchedSource):
    """Blocks while the machine is in use."""

    name = "idle"
    property = Property(
        "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "IdleHint"
    )
    unknown = Verdict(True, "whether somebody uses this machine is not known, which counts as in use")
    instead = "the last use of its terminals is looked at instead"

    def judge(self, value: Any) -> Verdict:
        """See WatchedSource."""
        return _IDLE if value else _IN_USE

    def look(self) -> Verdict | None:
        """See WatchedSource."""
        at = last_use([*Path("/dev/pts").glob("[0-9]*"), *Path("/dev").glob("tty[0-9]*")])
        if at is None:
            return None
        return _IDLE if time.time() - at >= IDLE_S else _IN_USE


def last_use(terminals: Iterable[Path]) -> float | None:
    """When somebody typed at one of these terminals last (Unix time); None when there is none."""
    found = []
    for path in terminals:
        try:
            found.append(path.stat().st_atime)
        except OSError:
            # A session that ended meanwhile.
            continue
    return max(found, default=None)
