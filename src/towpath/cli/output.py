"""How commands print what they found: JSON, facts, tables, and numbers as people read them."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = [
    "columns",
    "duration",
    "print_facts",
    "print_json",
    "print_line",
    "print_table",
    "quantity",
    "several",
    "truth",
    "waiting",
]

_NOBODY_LOOKS: Final = 1000


def print_json(value: Any) -> None:
    """One line of JSON, at once."""
    print(json.dumps(value), flush=True)


def print_line(text: str) -> None:
    """One line for people, at once."""
    print(text, flush=True)


def columns() -> int:
    """How wide the output is; very wide when nobody sees it, so that nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _NOBODY_LOOKS


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Shows on a terminal's stderr that something is waited for; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one pair a line, the values under each other."""
    shown = [(name, str(value)) for name, value in facts]
    width = max((len(name) for name, _ in shown), default=0) + 2
    for name, value in shown:
        print(f"{name:{width}}{value}")


def print_table(rows: Sequence[Mapping[str, Any]], columns_: Sequence[str], none: str) -> None:
    """Rows under the names of their columns, or the sentence `none`. Long lines are kept whole when nobody
    sees them.
    """
    if not rows:
        print(none)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns_:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(column, row.get(column)) for column in columns_))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _NOBODY_LOOKS
    console.print(table)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return truth(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(str(part) for part in value) or "-"
    if isinstance(value, (int, float)):
        if column.startswith("bytes"):
            return quantity(value)
        if column.endswith("_s"):
            return duration(value)
        if isinstance(value, float):
            return f"{value:.2f}"
    return str(value)


def truth(value: bool) -> str:
    """`yes` or `no`."""
    return "yes" if value else "no"


def several(number: int, what: str) -> str:
    """`1 circuit`, `2 circuits`."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def quantity(size: float) -> str:
    """Bytes with three digits: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError(size)


def duration(seconds: float) -> str:
    """Seconds in the two largest units: `1 h 12 min`."""
    left = int(seconds)
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size} {name}")
            left %= size
    return " ".join(parts[:2]) or "0 s"
