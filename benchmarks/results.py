"""Rows of results: what was measured, what the reference needed in the same run, what is required; JSON and tables.

`python -m benchmarks.results` puts the tables of the last run into docs/benchmarks.md.
"""

import json
import os
import platform
import re
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

NOISE_GATE: Final = 1.9
"""A row counts only if the reference needs at most this many times the CPU of open and seal alone in its run."""

_ROOT: Final = Path(__file__).parent.parent
LATEST: Final = _ROOT / ".benchmarks" / "latest.json"
_PAGE: Final = _ROOT / "docs" / "benchmarks.md"
_SLOT: Final = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Bound:
    """What the project demands of a row and what it aims at, of the ratio where there is one, else of the value."""

    must: float
    aim: float
    at_least: bool = False
    """The bounds are lower bounds."""
    absolute_time: bool = False
    """A time or a rate of this machine: shown, and required in the full form, never in continuous integration."""

    def met(self, figure: float) -> bool:
        return figure >= self.must if self.at_least else figure <= self.must


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `value` is a median of `samples`, the reference's as well."""

    relay: str
    what: str
    unit: str
    value: float
    samples: Sequence[float] = ()
    reference: float | None = None
    ratio: float | None = None
    bound: Bound | None = None
    doubt: str = ""
    """Why the row does not count: what the reference itself did, that something else had the machine."""
    note: str = ""
    more: dict[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        return not self.doubt

    @property
    def figure(self) -> float:
        """What the bound is about."""
        return self.value if self.ratio is None else self.ratio

    @property
    def verdict(self) -> Literal["", "noise", "missed", "must", "aim"]:
        """How the row stands to its bound."""
        if not self.counts:
            return "noise"
        if self.bound is None:
            return ""
        if not self.bound.met(self.figure):
            return "missed"
        beyond = self.figure >= self.bound.aim if self.bound.at_least else self.figure <= self.bound.aim
        return "aim" if beyond else "must"


def compared(
    relay: str,
    what: str,
    unit: str,
    samples: Sequence[float],
    reference: Sequence[float],
    *,
    alone: Sequence[float] = (),
    bound: Bound | None = None,
    note: str = "",
    **more: float,
) -> Row:
    """A row of interleaved samples: medians and their ratio; with `alone` (open and seal) it may turn out noise."""
    value, least = statistics.median(samples), statistics.median(reference)
    noise = least / statistics.median(alone) if alone else 0.0
    doubt = f"the reference needed {noise:.2f} × open + seal" if noise > NOISE_GATE else ""
    return Row(relay, what, unit, value, tuple(samples), least, value / least, bound, doubt, note, more)


def save(rows: Iterable[Row], form: str) -> Path:
    """Writes the rows of a run as JSON, in .benchmarks/."""
    LATEST.parent.mkdir(exist_ok=True)
    run = {
        "form": form,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {"cpu": _cpu_model(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "rows": [asdict(row) | {"counts": row.counts, "verdict": row.verdict} for row in rows],
    }
    LATEST.write_text(json.dumps(run, indent=1) + "\n")
    return LATEST


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| relay | what | measured | reference | ratio | must | aim | |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        bound = row.bound
        sign = "" if bound is None else "≥ " if bound.at_least else "≤ "
        times = " ×" if row.ratio is not None else ""
        cells = [
            row.relay,
            row.what,
            f"{_number(row.value)} {row.unit}".strip(),
            "" if row.reference is None else _number(row.reference),
            "" if row.ratio is None else f"{row.ratio:.2f} ×",
            "" if bound is None else f"{sign}{_number(bound.must)}{times}",
            "" if bound is None else f"{sign}{_number(bound.aim)}{times}",
            _remark(row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _remark(row: Row) -> str:
    words = {
        "aim": "aim met",
        "must": "met",
        "missed": "**missed**",
        "noise": f"does not count: {row.doubt}",
    }
    return "; ".join(part for part in (words.get(row.verdict, ""), row.note) if part)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _cpu_model() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _load(path: Path) -> tuple[dict[str, Any], list[Row]]:
    run = json.loads(path.read_text())
    rows = []
    for each in run["rows"]:
        del each["counts"], each["verdict"]
        each["bound"] = Bound(**each["bound"]) if each["bound"] else None
        rows.append(Row(**each))
    return run, rows


def render(path: Path = LATEST) -> None:
    """Puts the tables of a run into docs/benchmarks.md: bounded and further rows, or all if other relays ran, too."""
    run, rows = _load(path)
    tables = {
        "figures": [row for row in rows if row.bound is not None],
        "matrix": [row for row in rows if row.bound is None],
    }
    if any(row.relay != "towpath" for row in rows):
        tables = {"peers": sorted(rows, key=lambda row: row.what)}
    machine = run["machine"]
    heading = (
        f"{run['date']}, {machine['cpu']}, {machine['cpus']} CPUs, Python {machine['python']}, {run['form']} form.\n\n"
    )

    def fill(match: re.Match[str]) -> str:
        chosen = tables.get(match[2], [])
        return (
            match[1]
            + (heading + table(chosen) + "\n" if chosen else match[0][len(match[1]) : -len(match[3])])
            + match[3]
        )

    _PAGE.write_text(_SLOT.sub(fill, _PAGE.read_text()))


if __name__ == "__main__":
    render()
