"""How commands print what they found: JSON, tables, and numbers as people read them. The only place that uses rich."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["duration", "print_json", "print_line", "print_table", "quantity", "truth"]


def print_json(value: Any) -> None:
    """One line of JSON, at once."""
    print(json.dumps(value), flush=True)


def print_line(text: str) -> None:
    """One line for people, at once."""
    print(text, flush=True)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], none: str) -> None:
    """Rows under the names of their columns, or the sentence `none`. Long lines are kept whole when nobody
    sees them.
    """
    if not rows:
        print(none)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(column, row.get(column)) for column in columns))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 1000
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
