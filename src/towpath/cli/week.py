"""`towpath schedule`: when the node relays, hour by hour of the week."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from towpath.cli import UsageError
from towpath.cli.changing import current, say, write
from towpath.cli.options import Data, Json
from towpath.cli.output import columns, print_json
from towpath.cli.view import Signs, signs
from towpath.settings.schedule import DAYS, OPEN, Schedule, ScheduleKind, Slot
from towpath.settings.values import TomlValue, format_rate

__all__ = ["app", "grid"]

app = App(name="schedule", help="Show or set when the node relays, hour by hour of the week.")
_KEY: Final = "relay.schedule"
_KIND: Final = ScheduleKind()
_MARKS: Final[dict[Slot, str]] = {"off": "x", "client": "x", "cooperative": "c", "dedicated": "d"}
_MEANS: Final = {
    OPEN: "open: as the mode says",
    "off": "off: relays nothing",
    "client": "client: relays nothing",
    "cooperative": "cooperative",
    "dedicated": "dedicated",
}
_WIDE: Final = 4 + 24 * 3


@app.default
def show(*, data: Data = None, as_json: Json = False) -> None:
    """Show the week, in local time; `towpath schedule set --help` tells how to change it."""
    settings, running = current(data)
    week = _KIND.read(settings[_KEY]["value"])
    if as_json:
        hours = [[_word(slot) for slot in week[24 * day : 24 * day + 24]] for day in range(7)]
        print_json({"rules": _rules(week), "week": hours})
        return
    now = time.localtime()
    print("\n".join(grid(week, (now.tm_wday, now.tm_hour), columns(), signs(sys.stdout.encoding))))
    if not running:
        print("No node is running: this is the week of the next one.")
    print("Change it with `towpath schedule set DAYS HOURS WHAT`, such as `towpath schedule set mon-fri 09-17 off`.")


@app.command(name="set")
def set_(
    days: Annotated[str, Parameter(help="mon, sat,sun, mon-fri or daily.")],
    hours: Annotated[str, Parameter(help="09-17; 22-06 goes on into the next day; 00-24 is all of it.")],
    what: Annotated[
        str,
        Parameter(help="off; open (as the mode says); client, cooperative or dedicated; or a rate such as 20Mbit/s."),
    ],
    /,
    *,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set some hours of the week, at once and for good; the others stay as they are."""
    settings, _ = current(data)
    week = _KIND.read(settings[_KEY]["value"])
    rule = f"{days} {hours} {what}"
    try:
        changed = _KIND.read([*_rules(week), rule])
    except ValueError as e:
        raise UsageError(f"{rule!r} is no rule: {e}") from e
    _write(data, _KIND.write(changed), f"From now on: {rule}.", as_json=as_json)


@app.command
def clear(*, data: Data = None, as_json: Json = False) -> None:
    """Open every hour: relay whenever the mode says so."""
    _write(data, OPEN, "Every hour is open.", as_json=as_json)


def _write(data: Path | None, value: TomlValue, sentence: str, *, as_json: bool) -> None:
    say(write(data, {_KEY: value}), sentence, as_json=as_json)


def _rules(week: Schedule) -> list[str]:
    written = _KIND.write(week)
    return written if isinstance(written, list) else []


def _word(slot: Slot) -> str:
    return slot if isinstance(slot, str) else format_rate(slot)


def grid(week: Schedule, now: tuple[int, int], width: int, use: Signs) -> list[str]:
    """Seven lines of 24 hours, and what the marks mean; `now` is a weekday from Monday and an hour, shown in brackets
    where there is room.
    """
    rates = list(dict.fromkeys(slot for slot in week if not isinstance(slot, str)))
    marks: dict[Slot, str] = {OPEN: use.dot, **_MARKS}
    marks |= {slot: _rate_mark(at) for at, slot in enumerate(rates)}
    wide = width >= _WIDE
    lines = ["    " + _hours(wide)]
    for day, name in enumerate(DAYS):
        cells = [marks[week.at(day, hour)] for hour in range(24)]
        if wide:
            shown = [f"[{mark}]" if (day, hour) == now else f" {mark} " for hour, mark in enumerate(cells)]
        else:
            shown = cells
        lines.append(f"{name} " + "".join(shown).rstrip())
    lines.append("")
    for slot in dict.fromkeys(week):
        lines.append(f"{marks[slot]}  {_MEANS.get(slot, _word(slot)) if isinstance(slot, str) else _word(slot)}")
    lines.append(f"Now, {DAYS[now[0]]} {now[1]:02}-{now[1] + 1:02}: {_word(week.at(*now))}.")
    return lines


def _hours(wide: bool) -> str:
    return "".join(f"{hour:02} " for hour in range(24)) if wide else "0     6     12    18"


def _rate_mark(at: int) -> str:
    return "123456789ABEFGHIJKLMNOPQRSTUVWYZ"[at] if at < 32 else "?"
