"""`towpath top`: what the node is doing, live. Asks it each second, and follows its events.

`screen` is pure: what was asked and how much room there is go in, a renderable comes out.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from towpath.cli.changing import position_in_words
from towpath.cli.options import Data, Json
from towpath.cli.output import duration, print_json, quantity, several
from towpath.cli.places import data_directory
from towpath.cli.view import COUNTED, Signs, budget_lines, fit, moment, rate, signs, sparkline
from towpath.control.client import ask, follow
from towpath.log import short_peer_id

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Picture", "screen", "snapshot", "top"]

INTERVAL: Final = 1.0
EVENTS: Final = 50
_SILENCE: Final = 0.3
"""Seconds after which a snapshot has heard every event that the node remembers."""


class Picture(NamedTuple):
    """What is shown."""

    status: Mapping[str, Any]
    limits: Mapping[str, Any]
    traffic: Sequence[Mapping[str, Any]]
    circuits: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    rates: Sequence[float] = ()
    """Bytes per second relayed, one value a second, the last one last."""
    moved: Mapping[int, float] = {}
    """Bytes per second of each circuit, by its id."""


def top(*, data: Data = None, as_json: Json = False) -> None:
    """Watch what the node is doing: bandwidth, limits, circuits, events. `q` or Ctrl-C ends it.

    Prints it once when the output is not a terminal, and with --json.
    """
    directory = data_directory(data)
    if as_json:
        print_json({name: value for name, value in snapshot(directory)._asdict().items() if name in _PRINTED})
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    use = signs(sys.stdout.encoding)
    if not console.is_terminal or console.is_dumb_terminal or not sys.stdin.isatty():
        width = console.width if console.is_terminal else 100
        Console(highlight=False, markup=False, width=width).print(screen(snapshot(directory), width, 50, use))
        return
    with contextlib.suppress(KeyboardInterrupt):
        _watch(directory, console, use)


_PRINTED: Final = ("status", "limits", "traffic", "circuits", "events")


def snapshot(data: Path) -> Picture:
    """What there is to show right now."""
    with _events(data) as coming:
        events: deque[Mapping[str, Any]] = deque(maxlen=EVENTS)
        picture = _asked(data, ask(data, "/v1/traffic?window=1h"), events)
        with contextlib.suppress(queue.Empty):
            while (event := coming.get(timeout=_SILENCE)) is not None:
                events.append(event)
    return picture._replace(events=list(events))


def _asked(data: Path, traffic: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> Picture:
    return Picture(ask(data, "/v1/status"), ask(data, "/v1/limits"), traffic, ask(data, "/v1/circuits"), list(events))


@contextlib.contextmanager
def _events(data: Path) -> Iterator[queue.Queue[Mapping[str, Any] | None]]:
    """Events as they come, followed in a thread; None when the node ended."""
    coming: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
    following = follow(data)

    def listen() -> None:
        for event in following:
            coming.put(event)
        coming.put(None)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield coming
    finally:
        following.close()
        thread.join()


def _watch(data: Path, console: Any, use: Signs) -> None:
    from rich.live import Live

    events: deque[Mapping[str, Any]] = deque(maxlen=EVENTS)
    rates: deque[float] = deque(maxlen=1000)
    before: dict[int, tuple[float, int]] = {}
    traffic: Sequence[Mapping[str, Any]] = []
    with _events(data) as coming, _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        for turn in range(sys.maxsize):
            if turn % 30 == 0:
                traffic = ask(data, "/v1/traffic?window=1h")
            with contextlib.suppress(queue.Empty):
                while (event := coming.get_nowait()) is not None:
                    events.append(event)
            picture = _asked(data, traffic, events)
            speed = picture.limits["rate"]
            rates.append(max(speed["received"], speed["sent"]))
            moved, before = _moved(picture.circuits, before, time.monotonic())
            picture = picture._replace(rates=list(rates), moved=moved)
            live.update(screen(picture, console.width, console.height, use), refresh=True)
            if "q" in pressed(INTERVAL).lower():
                return


def _moved(
    circuits: Sequence[Mapping[str, Any]], before: Mapping[int, tuple[float, int]], now: float
) -> tuple[dict[int, float], dict[int, tuple[float, int]]]:
    """Bytes per second of each circuit since it was last seen, and what to compare with next time."""
    seen = {row["id"]: (now, row["bytes_in"] + row["bytes_out"]) for row in circuits}
    moved = {
        number: (size - before[number][1]) / max(1e-3, at - before[number][0])
        for number, (at, size) in seen.items()
        if number in before
    }
    return moved, seen


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """A function that waits so many seconds for keys and returns those that were pressed, unseen."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    waiting = select.poll()
    waiting.register(terminal, select.POLLIN)

    def pressed(seconds: float) -> str:
        return os.read(terminal, 64).decode(errors="replace") if waiting.poll(seconds * 1000) else ""

    tty.setcbreak(terminal)
    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


# --- what it looks like -------------------------------------------------------------------------

_STYLES: Final = {
    "off": "dim",
    "waiting": "yellow",
    "relaying": "green",
    "draining": "yellow",
    "paused": "yellow",
}


def screen(picture: Picture, width: int, height: int, use: Signs) -> RenderableType:
    """The whole picture in `height` lines of `width` columns; circuits and events share what room is left."""
    from rich.text import Text

    status, limits = picture.status, picture.limits
    text = Text(no_wrap=True, overflow="ellipsis")

    def line(content: str = "", style: str = "") -> None:
        text.append(fit(content, width) + "\n", style)

    title = f"towpath   {status['mode']}, up {duration(status['uptime_s'])}"
    # Only a live one has rates.
    line(title + ("q ends it".rjust(width - len(title)) if picture.rates and width > len(title) + 10 else ""), "bold")
    line(position_in_words(status), _STYLES.get(status["state"], ""))
    today = f"{quantity(status['bytes_relayed_today'])}, {several(status['circuits_today'], 'circuit')}"
    line(f"today     {today}; in all {quantity(status['bytes_relayed_total'])}")
    speed = limits["rate"]
    line(
        f"now       {use.down} {rate(speed['received'])}  {use.up} {rate(speed['sent'])}  of {rate(speed['limit'])}"
        f"  {several(status['circuits_now'], 'circuit')}, {several(status['reservations_now'], 'reservation')}"
    )
    room = max(8, width - 10)
    if picture.rates:
        line(f"live      {sparkline(picture.rates, room, use)}", "cyan")
    if picture.traffic:
        hour = [max(row["received"], row["sent"]) / max(1, row["seconds"]) for row in picture.traffic]
        line(f"past hour {sparkline(hour, min(room, len(hour)), use)}", "cyan")
    for quota in budget_lines(limits["budget"], width, use):
        line(quota)
    if limits["budget"]:
        line(f"(counted: {COUNTED})", "dim")
    # An empty line and a heading for circuits, and again for events.
    left = height - text.plain.count("\n") - 4
    told = min(len(picture.events), max(1, left // 3))
    rows = sorted(picture.circuits, key=lambda row: (-picture.moved.get(row["id"], 0.0), -row["age_s"]))
    _circuits(line, rows, picture.moved, width, left - told)
    events = list(picture.events)[len(picture.events) - told :]
    line()
    line("events" if events else "no events yet", "bold")
    for event in events:
        line(f"{moment(event['at'])}  {event['sentence']}")
    text.rstrip()
    return text


def _circuits(line: Any, rows: Sequence[Mapping[str, Any]], moved: Mapping[int, float], width: int, room: int) -> None:
    line()
    if not rows:
        line("no circuits are open", "bold")
        return
    wide = width >= 72
    head = f"{'circuit':>8}  {'from':9}  " + (f"{'to':9}  " if wide else "") + f"{'rate':>10}  {'bytes':>8}"
    line(head + (f"  {'open for':12}" if wide else ""), "bold")
    shown = rows if len(rows) <= room else rows[: max(0, room - 1)]
    for row in shown:
        text = f"{row['id']:>8}  {short_peer_id(row['peer']):9}  "
        if wide:
            text += f"{short_peer_id(str(row.get('target') or '')):9}  "
        speed = rate(moved[row["id"]]) if row["id"] in moved else "-"
        text += f"{speed:>10}  {quantity(row['bytes_in'] + row['bytes_out']):>8}"
        line(text + (f"  {duration(row['age_s'])}" if wide else ""))
    if len(shown) < len(rows):
        line(f"and {len(rows) - len(shown)} more", "dim")
