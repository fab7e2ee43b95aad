"""What limits cost that are never reached: a relay with a rate and quotas beside one without any.

Measured: CPU seconds of the relay's process per GB, one circuit and a hundred, frames of 64 KiB. The reference of these
rows is towpath itself without limits, in turns with it in the same run.
"""

from collections.abc import Iterator

import pytest

from benchmarks.conftest import METER, Compare, Form, Judge
from benchmarks.generator import Generator
from benchmarks.relays import Relay, towpath
from benchmarks.results import Bound

pytestmark = [pytest.mark.benchmark(timer=METER, group="CPU seconds per GB"), pytest.mark.timeout(300)]

_PAIRS = {1: 1, 100: 20}
_LIMITS = {
    "relay__max_rate": "100GB/s",
    "relay__max_bandwidth_per_hour": "500TB",
    "relay__max_bandwidth_per_day": "5000TB",
    "relay__max_bandwidth_per_month": "90000TB",
}
_NO_MORE = Bound(1.03, 1.0)


@pytest.fixture(scope="module")
def limited(relay_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    if relay_name != "towpath":
        pytest.skip("only towpath has a rate and quotas")
    with towpath(tmp_path_factory.mktemp("limited"), **_LIMITS) as running:
        yield running


@pytest.mark.parametrize("circuits", list(_PAIRS))
def test_limits_cost_nothing_until_they_are_reached(
    circuits: int, limited: Relay, relay: Relay, generator: Generator, form: Form, compare: Compare, judge: Judge
) -> None:
    if form.short:
        pytest.skip("only in the full form")

    def of(which: Relay) -> float:
        return generator.bulk(
            which, circuits=circuits, pairs=_PAIRS[circuits], seconds=form.seconds, warmup=form.warmup
        ).cpu_s_per_gb

    plural = "circuit" if circuits == 1 else f"circuits over {2 * _PAIRS[circuits]} connections"
    judge(
        compare(
            limited,
            f"CPU with limits that are not reached, to that without, {circuits} {plural}",
            "s/GB",
            lambda: of(limited),
            lambda: of(relay),
            bound=_NO_MORE,
        )
    )
