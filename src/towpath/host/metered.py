"""Is the network metered? NetworkManager knows; without it that is unknown, which counts as not metered."""

from __future__ import annotations

from typing import Any, Final

from towpath.host.bus import Property
from towpath.host.sources import Verdict
from towpath.host.watching import WatchedSource

__all__ = ["MeteredSource"]

_YES: Final = (1, 3)
"""NMMetered: yes, and guessed yes."""


class MeteredSource(WatchedSource):
    """Blocks while the network is metered."""

    name = "metered"
    property = Property(
        "org.freedesktop.NetworkManager",
        "/org/freedesktop/NetworkManager",
        "org.freedesktop.NetworkManager",
        "Metered",
    )
    unknown = Verdict(False, "whether the network is metered is not known, which counts as not metered")

    def judge(self, value: Any) -> Verdict:
        """See WatchedSource."""
        return (
            Verdict(True, "the network is metered") if value in _YES else Verdict(False, "the network is not metered")
        )
