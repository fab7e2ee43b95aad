"""How numbers look in a terminal: bars, sparklines, moments, budgets. Pure: widths and the time are passed in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from towpath.cli.output import quantity

__all__ = ["COUNTED", "Signs", "bar", "budget_lines", "fit", "moment", "rate", "signs", "sparkline"]

COUNTED: Final = "the larger of bytes sent and received on relay sockets"
"""What a quota counts; said wherever one is shown."""
NARROW: Final = 60
"""Columns below which bars are left out."""


class Signs(NamedTuple):
    """The characters that pictures are made of."""

    full: str
    empty: str
    steps: str
    """From little to much."""
    down: str
    up: str
    dot: str


_PICTURES: Final = Signs("█", "░", "▁▂▃▄▅▆▇█", "↓", "↑", "·")
_ASCII: Final = Signs("#", "-", "_.:-=+*#", "in", "out", "-")


def signs(encoding: str | None) -> Signs:
    """Those that an output of this encoding can show."""
    return _PICTURES if (encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32") else _ASCII


def bar(share: float, width: int, use: Signs = _PICTURES) -> str:
    """A bar that is full at 1; anything above 0 shows, and only 1 is full."""
    share = min(1.0, max(0.0, share))
    full = round(share * width)
    if share > 0:
        full = max(1, full)
    if share < 1:
        full = min(width - 1, full)
    return use.full * full + use.empty * (width - full)


def sparkline(values: Sequence[float], width: int, use: Signs = _PICTURES) -> str:
    """The last `width` values against the largest of them, on the right; nothing stands for nothing."""
    shown = list(values)[-width:] if width > 0 else []
    top = max(shown, default=0.0)
    steps = use.steps
    line = "".join(steps[min(len(steps) - 1, int(v / top * len(steps)))] if v > 0 else " " for v in shown)
    return line.rjust(width)


def rate(bytes_per_second: float | None) -> str:
    """`1.5 MB/s`, or `unlimited`."""
    return "unlimited" if bytes_per_second is None else f"{quantity(bytes_per_second)}/s"


def moment(at: float, now: float | None = None) -> str:
    """A Unix time as its owner's clock and calendar show it, no longer than it takes to be clear."""
    when = time.localtime(at)
    today = time.localtime(now)
    if when[:3] == today[:3]:
        return time.strftime("%H:%M", when)
    distance = at - time.mktime((*today[:3], 0, 0, 0, 0, 0, -1))
    return time.strftime("%a %H:%M" if 0 <= distance < 7 * 86400 else "%Y-%m-%d %H:%M", when)


def budget_lines(budget: Sequence[Mapping[str, Any]], width: int, use: Signs = _PICTURES) -> list[str]:
    """A line for each quota: a bar where there is room, how much of how much, and when it begins anew."""
    lines = []
    for quota in budget:
        limit, used = quota["limit"], quota["used"]
        line = f"{quota['period']:6}"
        if limit is None:
            line += f"{quantity(used)}, unlimited"
        else:
            share = used / limit if limit else 1.0
            if width >= NARROW:
                line += bar(share, min(20, width - 40), use) + "  "
            percent = "<1" if 0 < share < 0.01 else int(100 * share)
            line += f"{quantity(used)} of {quantity(limit)} ({percent}%)"
        if quota.get("resets_at") is not None:
            # Periods are counted in another clock, which is some milliseconds off.
            line += f", resets {moment(60 * round(quota['resets_at'] / 60))}"
        lines.append(line)
    return lines


def fit(text: str, width: int) -> str:
    """A text that takes at most `width` columns, its end left out if need be."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…" if width > 0 else ""
