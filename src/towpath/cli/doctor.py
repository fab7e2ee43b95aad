"""`towpath doctor`: what is wrong with a node or its machine, and how to mend it."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from towpath.cli.options import Data, Json
from towpath.cli.output import columns, print_json, waiting
from towpath.cli.places import data_directory
from towpath.control.client import ask, ready
from towpath.errors import NotRunning, TowpathError
from towpath.host.diagnosis import Finding, Running, diagnose
from towpath.host.diagnosis.finding import LEVELS, ok, problem, warning
from towpath.host.diagnosis.service import check_service
from towpath.settings import Settings

__all__ = ["doctor"]

_LEVEL: Final = 9
_MARGIN: Final = 20
"""Columns of the level, and of the level and the subject."""
_COLOURS: Final = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(*, data: Data = None, as_json: Json = False) -> int:
    """Say what is wrong with this node and its machine, and how to mend it.

    Looks at keys, settings, disk, ports, network, clock, limits, libraries, and at the running node and its service if
    there are. Changes nothing. The exit code is 1 when there is a problem.
    """
    directory = data_directory(data)
    with waiting("Looking at everything"):
        running, said = _node(directory)
        findings = [said, *check_service(), *diagnose(directory, running)]
    counts = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    if as_json:
        print_json({"data": str(directory), "counts": counts, "findings": [asdict(finding) for finding in findings]})
    else:
        _print(directory, findings)
    return 1 if counts["problem"] else 0


def _node(data: Path) -> tuple[Running | None, Finding]:
    said = ready(data)
    try:
        status = ask(data, "/v1/status")
        settings = _settings(ask(data, "/v1/settings"))
    except NotRunning:
        if said is None:
            return None, ok("node", "none is running")
        return None, warning(
            "node",
            f"none is running, but the last one (process {said.get('pid')}) ended without its goodbye",
            "nothing: it loses the last second of its counters at most; see its log for why it ended",
        )
    except TowpathError as e:
        advice = f"if it hangs, end it (`kill {said['pid']}`) and start it again" if said else "see its log"
        return None, problem("node", str(e), advice)
    pid = said.get("pid") if said else None
    if said is None or not isinstance(pid, int):
        return None, warning("node", "one is running, but its ready.json is gone", "start it again")
    state = f"{status['state']}" + (f" ({status['why']})" if status.get("why") else "")
    return Running(pid, tuple(said.get("listen", ())), settings), ok("node", f"process {pid} answers: {state}")


def _settings(rows: dict[str, dict[str, Any]]) -> Settings:
    """The settings that the running node goes by: its environment and command line are not ours."""
    given = {name: row["value"] for name, row in rows.items() if row["source"] != "default"}
    return Settings.load(given, environ={}, source="the running node")


def _print(data: Path, findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, width=columns())
    indent = " " * _MARGIN
    width = max(40, console.width - _MARGIN)
    for finding in findings:
        lines = textwrap.wrap(finding.what, width)
        line = Text(f"{finding.level:{_LEVEL}}", style=_COLOURS[finding.level])
        line.append(f"{finding.subject:{_MARGIN - _LEVEL}}", style="default").append(lines[0], style="default")
        console.print(line, soft_wrap=True)
        advice = textwrap.wrap(f"→ {finding.advice}", width, subsequent_indent="  ") if finding.advice else []
        for text in lines[1:]:
            console.print(indent + text, markup=False, soft_wrap=True)
        for text in advice:
            console.print(indent + text, style="bold", markup=False, soft_wrap=True)
    bad = [
        f"{n} {level}{'s' if n > 1 else ''}"
        for level in reversed(LEVELS[1:])
        if (n := sum(finding.level == level for finding in findings))
    ]
    console.print(f"{data}: {' and '.join(bad) or 'all is well'}.", style="bold", markup=False, soft_wrap=True)
