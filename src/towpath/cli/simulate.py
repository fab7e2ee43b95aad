"""`towpath simulate`: a network of thousands of nodes in simulated time, and attackers who try to cheat it."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from towpath.cli import UsageError
from towpath.cli.options import Json
from towpath.cli.output import print_json, print_line, print_table
from towpath.errors import TowpathError

if TYPE_CHECKING:
    from towpath.sim.running import Result

__all__ = ["simulate"]

_STOPPED: Final = 128 + signal.SIGINT
_FAILED: Final = 1


def simulate(
    what: Annotated[str | None, Parameter(metavar="SCENARIO", help="Its name, or `attack`; see --list.")] = None,
    attack: Annotated[str | None, Parameter(metavar="NAME", help="Behind `attack`: which one, or `all`.")] = None,
    /,
    *,
    nodes: Annotated[
        int | None,
        Parameter(metavar="N", help="How many users take part; an attack is made small by any.", show_default=False),
    ] = None,
    seed: Annotated[int, Parameter(metavar="S", help="Another one is another run.")] = 1,
    out: Annotated[
        Path | None,
        Parameter(
            metavar="DIR", help="Where files are written; simulated/NAME when nothing is said.", show_default=False
        ),
    ] = None,
    plots: Annotated[bool, Parameter(help="Draw charts, as PNG and SVG; needs matplotlib.")] = True,
    list_: Annotated[bool, Parameter(name="--list", negative="", help="List scenarios and attacks.")] = False,
    as_json: Json = False,
) -> int:
    """Simulate a network by the policies of this very node, and write a table, a summary and charts.

    Ctrl-C ends it early, and keeps what was computed.
    """
    from towpath.sim.attacks import ATTACKS
    from towpath.sim.scenarios import SCENARIOS

    if list_:
        return _list(as_json)
    if what is None:
        raise UsageError(f"name a scenario: {', '.join(SCENARIOS)}, or `attack NAME`; `--list` says what they are")
    if nodes is not None and nodes < 1:
        raise UsageError(f"{nodes} nodes; at least 1")
    if what == "attack":
        names = list(ATTACKS) if attack == "all" else [attack or ""]
        if names[0] not in ATTACKS:
            wrong = "name an attack" if attack is None else f"no attack {attack!r}"
            raise UsageError(f"{wrong}: {', '.join(ATTACKS)}, or all")
        return _attacks(names, nodes, seed, out, plots=plots, as_json=as_json)
    if what not in SCENARIOS:
        raise UsageError(f"no scenario {what!r}: {', '.join(SCENARIOS)}, or `attack NAME`")
    if attack is not None:
        raise UsageError(f"{attack!r} behind the scenario's name is not understood")
    return _scenario(what, nodes, seed, out, plots=plots, as_json=as_json)


def _list(as_json: bool) -> int:
    from towpath.sim.attacks import ATTACKS
    from towpath.sim.scenarios import SCENARIOS

    rows = [{"name": name, "about": about} for name, about in SCENARIOS.items()]
    rows += [{"name": f"attack {name}", "about": f"{one.title}: {one.bound}"} for name, one in ATTACKS.items()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("name", "about"), "nothing to simulate")
    return 0


def _scenario(name: str, nodes: int | None, seed: int, out: Path | None, *, plots: bool, as_json: bool) -> int:
    from towpath.sim.plots import need_matplotlib
    from towpath.sim.report import lines, summary, write
    from towpath.sim.running import Runner
    from towpath.sim.scenarios import scenario

    if plots:
        need_matplotlib()
    directory = _place(Path("simulated") / name if out is None else out)
    runner = Runner(scenario(name), nodes, seed)
    with _until_interrupted(runner.stop), _shown(name) as watch:
        result: Result = runner.run(watch)
    files = write(result, directory, plots=plots)
    if as_json:
        print_json(summary(result) | {"files": [str(file) for file in files]})
    else:
        for line in lines(result):
            print_line(line)
        _print_files(directory, files)
    return 0 if result.complete else _STOPPED


def _attacks(
    names: Sequence[str], nodes: int | None, seed: int, out: Path | None, *, plots: bool, as_json: bool
) -> int:
    import random

    from towpath.sim.attacks import ATTACKS
    from towpath.sim.plots import need_matplotlib
    from towpath.sim.report import attack_summary, write_attack

    if plots:
        need_matplotlib()
    held = True
    for name in names:
        directory = _place((Path("simulated") / name) if out is None else (out / name if len(names) > 1 else out))
        with _shown(f"attack {name}") as watch:
            began = time.perf_counter()

            def told(share: float, watch: Callable[[str, float, int], None] | None = watch) -> None:
                if watch is not None:
                    watch("", share, 0)

            report = ATTACKS[name].run("full" if nodes is None else "small", random.Random(seed), told)
        files = write_attack(report, directory, plots=plots)
        held = held and report.holds
        if as_json:
            print_json(attack_summary(report) | {"files": [str(file) for file in files]})
        else:
            for line in report.lines():
                print_line(line)
            print_line(f"  {time.perf_counter() - began:.1f} s")
            _print_files(directory, files)
    return 0 if held else _FAILED


def _place(directory: Path) -> Path:
    # Before the run: nobody wants to learn after ten minutes that nothing can be written.
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as e:
        raise TowpathError(
            f"cannot write into {directory}: {e.strerror or e}; name another directory with --out"
        ) from e
    return directory


def _print_files(directory: Path, files: Sequence[Path]) -> None:
    print_line(f"written to {directory}: {', '.join(file.name for file in files)}")


@contextlib.contextmanager
def _until_interrupted(stop: Callable[[], None]) -> Iterator[None]:
    # The first Ctrl-C ends the run in good order; the second one at once.
    def interrupted(*_: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _shown(what: str) -> Iterator[Callable[[str, float, int], None] | None]:
    # A progress bar on a terminal's stderr; elsewhere nothing.
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    shown = TextColumn("{task.fields[events]:,} events")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), shown, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=1.0, events=0)

        def watch(part: str, share: float, events: int) -> None:
            progress.update(task, description=f"{what} {part}".strip(), completed=share, events=events)

        yield watch
