"""What a run leaves behind: a table of samples, a summary for people and one for programs, and the charts."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from towpath.sim.plots import draw

if TYPE_CHECKING:
    from towpath.sim.attacks.figures import Chart, Figure, Report
    from towpath.sim.running import Result

__all__ = ["attack_summary", "lines", "summary", "write", "write_attack"]


def lines(result: Result) -> list[str]:
    """For people: what was run, what it came to."""
    days = sum(part.days for part in result.parts)
    done = f"{result.events:,} events in {result.seconds:.1f} s, {days:.4g} simulated days"
    told = [f"{result.scenario}: {result.nodes} users, seed {result.seed}: {done}"]
    if not result.complete:
        told.append("stopped before its end: what follows is what was computed until then")
    told += [f"  {sentence}" for sentence in result.judged.sentences]
    told += [f"  {figure}" for figure in result.judged.figures]
    return told


def summary(result: Result) -> dict[str, Any]:
    """For programs. Equal runs give equal summaries but for `seconds`."""
    return {
        "scenario": result.scenario,
        "nodes": result.nodes,
        "seed": result.seed,
        "events": result.events,
        "seconds": round(result.seconds, 3),
        "complete": result.complete,
        "parts": [
            {"label": part.label, "days": part.days, "events": part.events, "complete": part.complete, **part.notes}
            for part in result.parts
        ],
        "sentences": list(result.judged.sentences),
        "figures": [_figure(figure) for figure in result.judged.figures],
        "refusals": {part.label: dict(sorted(part.metrics.reasons.items())) for part in result.parts},
    }


def write(result: Result, out: Path, *, plots: bool = True) -> list[Path]:
    """Writes timeline.csv, summary.json, summary.txt and the charts into `out`; the files."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [{"part": part.label, **row} for part in result.parts for row in part.rows]
    files = [_table(out / "timeline.csv", rows)] if rows else []
    files += _summaries(out, summary(result), lines(result))
    if plots:
        for name, chart in result.judged.charts:
            files += draw(chart, out / name)
    return files


def attack_summary(report: Report) -> dict[str, Any]:
    """For programs: what an attack came to."""
    return {
        "attack": report.attack,
        "size": report.size,
        "events": report.events,
        "holds": report.holds,
        "figures": [_figure(figure) for figure in report.figures],
        "naive": [_figure(figure) for figure in report.naive],
    }


def write_attack(report: Report, out: Path, *, plots: bool = True) -> list[Path]:
    """Writes figures.csv, curves.csv, summary.json, summary.txt and the chart of an attack into `out`; the files."""
    out.mkdir(parents=True, exist_ok=True)
    curves = [
        {"line": name, report.chart.x: x, report.chart.y: y}
        for name, points in report.chart.lines.items()
        for x, y in points
    ]
    files = [_table(out / "figures.csv", report.rows())]
    if curves:
        files.append(_table(out / "curves.csv", curves))
    files += _summaries(out, attack_summary(report), report.lines())
    if plots:
        files += _chart(report.chart, out / "chart")
    return files


def _chart(chart: Chart, stem: Path) -> list[Path]:
    return draw(chart, stem)


def _summaries(out: Path, facts: Mapping[str, Any], told: Sequence[str]) -> list[Path]:
    as_json, as_text = out / "summary.json", out / "summary.txt"
    as_json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    as_text.write_text("\n".join(told) + "\n", encoding="utf-8")
    return [as_json, as_text]


def _table(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _figure(figure: Figure) -> dict[str, Any]:
    value = None if math.isnan(figure.value) or math.isinf(figure.value) else figure.value
    facts: dict[str, Any] = {"name": figure.name, "value": value, "unit": figure.unit}
    if figure.bounded:
        facts |= {"at_least": figure.at_least, "at_most": figure.at_most, "holds": figure.holds}
    return facts
