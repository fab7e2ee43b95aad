"""Does this machine run on battery? UPower's OnBattery; else what the kernel says of its power supplies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from towpath.host.bus import Property
from towpath.host.sources import Verdict
from towpath.host.watching import WatchedSource

__all__ = ["BatterySource", "on_battery"]

_SUPPLIES: Final = Path("/sys/class/power_supply")
_BATTERY: Final = Verdict(True, "the machine runs on battery")
_MAINS: Final = Verdict(False, "the machine runs on mains power")


class BatterySource(WatchedSource):
    """Blocks while the machine runs on battery."""

    name = "battery"
    property = Property("org.freedesktop.UPower", "/org/freedesktop/UPower", "org.freedesktop.UPower", "OnBattery")
    unknown = Verdict(False, "whether the machine runs on battery is not known, which counts as mains power")
    instead = "the kernel's power supplies are looked at instead"

    def judge(self, value: Any) -> Verdict:
        """See WatchedSource."""
        return _BATTERY if value else _MAINS

    def look(self) -> Verdict | None:
        """See WatchedSource."""
        found = on_battery(_SUPPLIES)
        return None if found is None else _BATTERY if found else _MAINS


def on_battery(supplies: Path) -> bool | None:
    """Does a battery that powers the machine discharge, with no other supply at work? None: nothing can be seen.

    `supplies` is laid out as /sys/class/power_supply. A machine without a battery runs on mains power.
    """
    try:
        found = sorted(supplies.iterdir())
    except OSError:
        return None
    discharging = False
    for supply in found:
        kind = _read(supply / "type")
        if kind == "Battery":
            # A mouse has a battery, too; that one is not the machine's.
            discharging |= _read(supply / "scope") != "Device" and _read(supply / "status") == "Discharging"
        elif _read(supply / "online") == "1":
            return False
    return discharging


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
