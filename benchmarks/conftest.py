"""What the benchmarks share: the programs, the form of the run, interleaving, and where the rows go."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import programs, results
from benchmarks.generator import Generator
from benchmarks.relays import FOREIGN, Relay, open_relay
from benchmarks.results import Bound, Row, compared

ATTEMPTS: Final = 3
"""A row that does not count is measured so often,"""
MOST_ATTEMPTS: Final = 8
"""and one that misses its bound: what is slower is slower each time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("towpath benchmarks")
    group.addoption(
        "--short", action="store_true", help="about two minutes; fails on ratios and sizes, never on absolute time"
    )
    group.addoption("--renew", action="store_true", help="write the instruction counts' expected ratios anew")
    group.addoption(
        "--relays",
        default="towpath",
        help=f"which relays are measured, with commas between: towpath, {', '.join(FOREIGN)} (default: towpath)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "relay_name" in metafunc.fixturenames:
        names = metafunc.config.getoption("relays").split(",")
        metafunc.parametrize("relay_name", names, scope="module")


@dataclass(frozen=True, slots=True)
class Form:
    """How thorough the run is."""

    short: bool

    @property
    def rounds(self) -> int:
        return 3 if self.short else 5

    @property
    def seconds(self) -> float:
        """Length of one measurement."""
        return 0.6 if self.short else 1.0

    @property
    def warmup(self) -> float:
        return 0.2 if self.short else 0.4


class Meter:
    """pytest-benchmark's clock here: it shows the relay's CPU time, or what else was measured, in seconds."""

    def __init__(self) -> None:
        self._shown = 0.0

    def __call__(self) -> float:
        return self._shown

    def advance(self, seconds: float) -> None:
        self._shown += seconds


METER: Final = Meter()

_SECONDS: Final[Mapping[str, Callable[[float], float]]] = {
    "s": float,
    "s/GB": float,
    "µs": lambda value: value / 1e6,
    "/s": lambda value: 1 / value,
}
"""How pytest-benchmark's table, which is all in seconds, shows a unit: rates as the CPU time of each."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Takes the rows of a test, hands them to pytest-benchmark and the table, and says whether they pass."""

    form: Form
    rows: list[Row]
    request: pytest.FixtureRequest

    def __call__(self, *rows: Row) -> None:
        """Fails when a bound is missed. In the short form no time or rate of the machine counts."""
        self.rows.extend(rows)
        if rows[0].unit in _SECONDS:
            self._show(rows)
        missed = [row for row in rows if row.verdict == "missed" and not (self.form.short and _is_time(row.bound))]
        assert not missed, "\n" + results.table(missed)
        if all(row.verdict == "noise" for row in rows):
            pytest.skip(f"too noisy: {rows[0].doubt}")

    def _show(self, rows: Sequence[Row]) -> None:
        benchmark: BenchmarkFixture = self.request.getfixturevalue("benchmark")
        in_seconds = _SECONDS[rows[0].unit]
        samples = iter(rows[0].samples)
        benchmark.extra_info |= {row.what: {"value": row.value, "unit": row.unit, "ratio": row.ratio} for row in rows}
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            lambda: METER.advance(in_seconds(next(samples))),
            rounds=len(rows[0].samples),
            iterations=1,
            warmup_rounds=0,
        )


def _is_time(bound: Bound | None) -> bool:
    return bound is not None and bound.absolute_time


@pytest.fixture(scope="session")
def form(request: pytest.FixtureRequest) -> Form:
    return Form(request.config.getoption("short"))


@pytest.fixture(scope="session")
def built() -> programs.Programs:
    return programs.build()


@pytest.fixture(scope="session")
def generator(built: programs.Programs) -> Generator:
    return Generator(built)


@pytest.fixture(scope="module")
def relay(relay_name: str, built: programs.Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """The relay under test, one process for a module."""
    with open_relay(relay_name, built, tmp_path_factory.mktemp("relay")) as running:
        yield running


@pytest.fixture(scope="session")
def reference(built: programs.Programs) -> Iterator[Relay]:
    """The C reference, one process for the run."""
    with open_relay("reference", built, Path()) as running:
        yield running


_ROWS: Final = pytest.StashKey[list[Row]]()


@pytest.fixture
def judge(request: pytest.FixtureRequest, form: Form) -> Judge:
    return Judge(form, request.config.stash.setdefault(_ROWS, []), request)


Compare = Callable[..., Row]


@pytest.fixture
def compare(generator: Generator, form: Form) -> Compare:
    """Interleaves a relay's measurements with the reference's; see the inner docstring."""

    def run(
        relay: Relay,
        what: str,
        unit: str,
        measure: Callable[[], float],
        of_reference: Callable[[], float],
        *,
        frame: int | None = None,
        bound: Bound | None = None,
        note: str = "",
    ) -> Row:
        """A B A B …, medians. With `frame`, open and seal of such frames alone are measured in each round as well.

        A row that does not count (the reference needs over 1.9 × that) or misses its bound is measured anew: what is
        true of the relay stays, what was true of the machine does not.
        """
        row: Row | None = None
        for number in range(MOST_ATTEMPTS):
            rounds = [
                (
                    of_reference(),
                    measure(),
                    generator.open_and_seal(frame, 100 if form.short else 300) if frame else 0.0,
                )
                for _ in range(form.rounds)
            ]
            least, samples, alone = zip(*rounds, strict=True)
            attempt = compared(
                relay.name,
                what,
                unit,
                samples,
                least,
                alone=alone if frame else (),
                bound=bound if relay.name == "towpath" else None,
                note=note,
            )
            if row is None or attempt.counts >= row.counts:
                row = attempt
            if number + 1 >= {"noise": ATTEMPTS, "missed": MOST_ATTEMPTS}.get(row.verdict, 1):
                break
        assert row is not None
        return row

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(_ROWS, [])
    if not rows:
        return
    place = results.save(rows, "short" if config.getoption("short") else "full")
    terminalreporter.section("towpath benchmarks")
    terminalreporter.write_line(results.table(rows))
    terminalreporter.write_line(f"{len(rows)} rows, as JSON in {place}")
