"""Which rows of the benchmarks count: what is true of the relay does, what is true of the machine does not."""

import pytest
from benchmarks.results import Bound, compared

BOUND = Bound(must=1.15, aim=1.03)


@pytest.mark.parametrize(
    ("samples", "reference", "alone", "verdict"),
    [
        ((1.0, 1.1, 1.02), 1.0, 0.7, "aim"),
        ((1.1, 1.11, 1.12), 1.0, 0.7, "must"),
        ((1.2, 1.25, 1.3), 1.0, 0.7, "missed"),
        ((1.17, 1.2, 1.5), 1.0, 0.7, "missed"),
        ((1.2, 1.25, 1.3), 1.0, 0.5, "noise"),  # the reference had not the machine
    ],
)
def test_a_row_of_cpu_counts_while_the_machine_was_ours(
    samples: tuple[float, ...], reference: float, alone: float, verdict: str
) -> None:
    row = compared("towpath", "CPU", "s/GB", samples, [reference] * 3, alone=[alone] * 3, bound=BOUND)
    assert row.verdict == verdict
    assert row.counts == (verdict != "noise")
