"""Every attack in its small form: each figure keeps to its bound, and a naive rule breaks under the same attack."""

from __future__ import annotations

import random

import pytest

from towpath.sim.attacks import ATTACKS
from towpath.sim.attacks.figures import Chart, Figure, Report, percentile

SEED = 20_250_101


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gains_no_more_than_its_bound_and_a_naive_rule_would_not_hold_it(
    name: str, record_property: pytest.RecordProperty
) -> None:
    shares: list[float] = []
    report = ATTACKS[name].run("small", random.Random(SEED), shares.append)
    for line in report.lines():
        print(line)
    for figure in report.figures:
        record_property(figure.name, figure.value)
    assert report.attack == name
    assert any(figure.bounded for figure in report.figures)
    missed = [str(figure) for figure in report.figures if not figure.holds]
    assert not missed, missed
    assert report.bites, [str(figure) for figure in report.naive]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert report.events > 0
    assert all(report.chart.lines.values())


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_at_full_size_gains_no_more_than_its_bound(name: str) -> None:
    report = ATTACKS[name].run("full", random.Random(SEED))
    print("\n".join(report.lines()))
    assert report.holds, [str(figure) for figure in report.figures if not figure.holds]
    assert report.bites


@pytest.mark.slow
@pytest.mark.parametrize("name", ["never-signing", "slander"])
def test_the_same_seed_gives_the_same_figures(name: str) -> None:
    first, again = (ATTACKS[name].run("small", random.Random(3)) for _ in range(2))
    assert first.rows() == again.rows()


def test_a_figure_that_is_no_number_keeps_to_no_bound() -> None:
    assert not Figure("waits", float("nan"), at_most=1.0).holds
    assert not Figure("reads", float("inf"), at_most=3).holds
    assert not Figure("share", 0.2, at_least=0.5).holds
    assert Figure("share", 0.2).holds


def test_an_attack_that_breaks_no_naive_rule_shows_nothing() -> None:
    chart = Chart("", "", "", {"line": [(0.0, 1.0)]})
    good, bad = Figure("gain", 1.0, at_most=2), Figure("gain", 3.0, at_most=2)
    assert Report("a", "", [good], [bad], chart).bites
    assert not Report("a", "", [good], [bad, good], chart).bites
    assert not Report("a", "", [good], [], chart).bites
    assert not Report("a", "", [bad], [bad], chart).holds
    assert percentile([], 0.5) != percentile([], 0.5)
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
