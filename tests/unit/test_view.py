"""How numbers look: bars, sparklines, moments, the week, and `top` on wide and narrow terminals."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.unit.controlled import DoubleNode, row, serving
from towpath.cli.top import Picture, _moved, screen
from towpath.cli.view import bar, budget_lines, fit, moment, rate, signs, sparkline
from towpath.cli.week import grid
from towpath.settings.schedule import ScheduleKind

ASCII = signs("ascii")
PICTURES = signs("UTF-8")


@given(st.floats(0, 2), st.integers(2, 200))
def test_a_bar_is_full_only_at_the_end_and_empty_only_at_the_start(share: float, width: int) -> None:
    drawn = bar(share, width, PICTURES)
    assert len(drawn) == width
    full = drawn.count(PICTURES.full)
    assert drawn == PICTURES.full * full + PICTURES.empty * (width - full)
    assert (full == 0) == (share == 0)
    assert (full == width) == (share >= 1)


@given(st.lists(st.floats(0, 1e12), max_size=50), st.integers(0, 60))
def test_a_sparkline_has_its_width_and_stands_highest_at_the_largest(values: list[float], width: int) -> None:
    drawn = sparkline(values, width, PICTURES)
    assert len(drawn) == width
    shown = values[-width:] if width else []
    if any(shown):
        place = width - len(shown) + shown.index(max(shown))
        assert drawn[place] == PICTURES.steps[-1]
    else:
        assert not drawn.strip()


def test_what_an_output_cannot_show_is_drawn_in_ascii() -> None:
    assert signs(None) == signs("latin-1") == ASCII
    assert signs("utf8") == signs("utf-8") == PICTURES
    text = bar(0.5, 10, ASCII) + sparkline([1, 2, 3], 5, ASCII) + "".join(ASCII)
    assert text.isascii()


def test_a_moment_is_as_long_as_it_takes_to_be_clear() -> None:
    now = time.mktime((2026, 11, 22, 13, 0, 0, 0, 0, -1))
    assert moment(now + 3600, now) == "14:00"
    assert moment(now - 3600, now) == "12:00"
    assert moment(now + 86400, now) == "Mon 13:00"
    assert moment(now + 9 * 86400, now) == "2026-12-01 13:00"
    assert moment(now - 86400, now) == "2026-11-21 13:00"


def test_rates_and_texts_fit() -> None:
    assert rate(1_500_000) == "1.5 MB/s"
    assert rate(None) == "unlimited"
    assert fit("abcdef", 6) == "abcdef"
    assert fit("abcdef", 4) == "abc…"
    assert fit("abcdef", 0) == ""


def test_budgets_have_bars_where_there_is_room() -> None:
    in_the_evening = time.mktime((2033, 5, 18, 20, 0, 0, 0, 0, -1))
    budget = [
        {"period": "day", "limit": 1000, "used": 500, "resets_at": None},
        {"period": "month", "limit": None, "used": 500, "resets_at": None},
        {"period": "hour", "limit": 0, "used": 0, "resets_at": None},
        {"period": "hour", "limit": 10**9, "used": 1, "resets_at": in_the_evening - 0.01},
    ]
    assert budget_lines(budget, 80) == [
        "day   ██████████░░░░░░░░░░  500 B of 1 kB (50%)",
        "month 500 B, unlimited",
        "hour  ████████████████████  0 B of 0 B (100%)",
        "hour  █░░░░░░░░░░░░░░░░░░░  1 B of 1 GB (<1%), resets 2033-05-18 20:00",
    ]
    assert budget_lines(budget, 40)[0] == "day   500 B of 1 kB (50%)"


@pytest.mark.parametrize(("width", "cell"), [(80, 3), (30, 1)])
def test_the_week_is_a_grid(width: int, cell: int) -> None:
    week = ScheduleKind().read(["mon-fri 09-17 off", "sat 10-12 2MB/s", "sun 00-24 cooperative"])
    lines = grid(week, (1, 10), width, PICTURES)
    assert all(len(line.rstrip()) <= width for line in lines[:8])
    cells = [line[4:].ljust(24 * cell) for line in lines[1:8]]
    marks = [[day[hour * cell + cell // 2] for hour in range(24)] for day in cells]
    assert marks[0] == ["·"] * 9 + ["x"] * 8 + ["·"] * 7
    assert marks[5][9:13] == ["·", "1", "1", "·"]
    assert marks[6] == ["c"] * 24
    if cell == 3:
        assert cells[1][30:33] == "[x]"
    text = "\n".join(lines)
    for part in ("·  open: as the mode says", "x  off: relays nothing", "1  2MB/s", "Now, tue 10-11: off."):
        assert part in text


# --- top ------------------------------------------------------------------------------------------


async def picture(**more: Any) -> Picture:
    node = DoubleNode()
    node.settings = node.settings.changed({"relay.max_bandwidth_per_day": "5GB", "relay.max_rate": "3MB/s"})
    node.rows = [row(n, 1_000_000 * n) for n in range(1, 31)]
    node.events.publish("relay_state", "Relaying: relay mode is on")
    found = Picture(
        node.status(), node.limits(), await node.traffic("1h"), node.circuits(full=True), node.events.recent()
    )
    return found._replace(**more)


def drawn(what: Picture, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=False, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(screen(what, width, height, PICTURES))
    return capture.get().splitlines()


async def test_top_shows_bandwidth_limits_circuits_and_events() -> None:
    lines = drawn(await picture(rates=[0, 1e6, 2e6], moved={7: 2_000_000.0}), 100, 40)
    text = "\n".join(lines)
    for part in (
        "dedicated, up 1 h 2 min",
        "q ends it",
        "relaying: relay mode is on",
        "4.9 GB, 17 circuits",
        "↓ 1.5 MB/s  ↑ 1.4 MB/s  of 3 MB/s",
        "4.9 GB of 5 GB (98%)",
        "the larger of bytes sent and received",
        "Relaying: relay mode is on",
        "and ",
    ):
        assert part in text
    assert re.search(r"^live +▅█$", text, re.MULTILINE)
    first = next(line for at, line in enumerate(lines) if lines[at - 1].lstrip().startswith("circuit"))
    assert re.match(r" +7 .* 2 MB/s ", first)


@pytest.mark.parametrize(("width", "height"), [(200, 60), (100, 40), (80, 24), (60, 20), (40, 20), (20, 16)])
async def test_top_keeps_to_the_terminal(width: int, height: int) -> None:
    events = [{"at": 2e9, "sentence": f"Something long happened, for the {n}th time, and again."} for n in range(50)]
    lines = drawn(await picture(rates=[float(n) for n in range(500)], events=events), width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert lines[-1].startswith("2033-05-18"[:width])


async def test_top_without_anything_says_so() -> None:
    found = await picture()
    text = "\n".join(drawn(found._replace(circuits=[], events=[], traffic=[]), 80, 24))
    assert "no circuits are open" in text
    assert "no events yet" in text


def test_a_circuits_rate_is_what_it_moved_since() -> None:
    moved, seen = _moved([row(1, 1000), row(2, 0)], {}, 10.0)
    assert moved == {}
    moved, _ = _moved([row(1, 3000), row(3, 0)], seen, 12.0)
    assert moved == {1: 1500.0}


def _watched(data: Path, ended: Callable[[subprocess.Popen[bytes], int], None]) -> tuple[int, bytes]:
    """`towpath top` on a terminal of its own until `ended(process, terminal)`: its exit code, and what it drew."""
    own, its = pty.openpty()
    waiting = select.poll()
    waiting.register(own, select.POLLIN)
    termios.tcsetwinsize(its, (24, 80))
    environ = {**os.environ, "TOWPATH_DATA": str(data), "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "towpath", "top"]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environ)
    os.close(its)
    seen = b""
    told = False
    until = time.monotonic() + 30
    try:
        while time.monotonic() < until:
            if waiting.poll(50):
                try:
                    seen += os.read(own, 65536)
                except OSError:
                    break
            if not told and b"no events yet" in seen:
                ended(process, own)
                told = True
        return process.wait(5), seen
    finally:
        process.kill()
        process.wait()
        os.close(own)


@pytest.mark.parametrize(
    "ended",
    [lambda _process, terminal: os.write(terminal, b"q"), lambda process, _: process.send_signal(signal.SIGINT)],
    ids=["q", "Ctrl-C"],
)
async def test_top_lives_on_a_terminal_until_its_user_ends_it(
    tmp_path: Path, ended: Callable[[subprocess.Popen[bytes], int], None]
) -> None:
    node = DoubleNode()
    async with serving(node, tmp_path):
        code, seen = await asyncio.to_thread(_watched, tmp_path, ended)
    assert code == 0
    assert b"relaying: relay mode is on" in seen
    # The screen that was there before is shown again, and nothing was coloured.
    assert seen.rstrip().endswith((b"\x1b[?1049l", b"\x1b[?25h"))
    assert not re.search(rb"\x1b\[3\dm", seen)
    assert not node.events._followers
