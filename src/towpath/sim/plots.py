"""Drawing charts into files, as PNG and SVG. matplotlib is loaded when the first one is drawn, and never before."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from towpath.errors import TowpathError

if TYPE_CHECKING:
    from towpath.sim.attacks.figures import Chart

__all__ = ["draw", "need_matplotlib"]

_LINES: Final = ("#1f6f8b", "#d1495b", "#66a182", "#edae49", "#5d4e6d", "#8d8d8d", "#00798c", "#a23e48")
_SIZE: Final = (8.0, 4.5)


def need_matplotlib() -> None:
    """TowpathError that says how to get it, where it is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise TowpathError(
            "plots need matplotlib, which is not installed: `pip install 'towpath[sim]'`, or add --no-plots"
        )


def draw(chart: Chart, stem: Path) -> list[Path]:
    """Draws one chart into `stem`.png and `stem`.svg; the files. The same chart makes the same SVG."""
    need_matplotlib()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "towpath", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _fill(axes, chart)
        png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
        figure.savefig(png, dpi=120, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None})
    return [png, svg]


def _fill(axes: Any, chart: Chart) -> None:
    for number, (name, points) in enumerate(chart.lines.items()):
        drawn = [(x, y) for x, y in points if not (math.isnan(y) or math.isinf(y))]
        xs, ys = [x for x, _ in drawn], [y for _, y in drawn]
        color = _LINES[number % len(_LINES)]
        if chart.bars:
            width = 0.8 / len(chart.lines)
            axes.bar(
                [x + (number - (len(chart.lines) - 1) / 2) * width for x in xs], ys, width, label=name, color=color
            )
        else:
            axes.plot(
                xs, ys, label=name, color=color, linewidth=1.6, marker="o" if len(xs) < 20 else None, markersize=4
            )
    if chart.bound is not None:
        axes.axhline(chart.bound, color="#333333", linestyle="--", linewidth=1, label=f"bound {chart.bound:g}")
    if chart.bars and chart.ticks:
        axes.set_xticks(range(len(chart.ticks)), chart.ticks)
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    elif not any(y < 0 for points in chart.lines.values() for _, y in points):
        axes.set_ylim(bottom=0)
    axes.set_title(chart.title, loc="left")
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if chart.lines or chart.bound is not None:
        axes.legend(frameon=False)
