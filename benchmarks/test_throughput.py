"""CPU seconds of the relay's process per GB of payload, beside the C reference in the same run.

Measured: the relay's CPU clock (all threads, user and system) over the bytes that reached their ends meanwhile, after a
warm-up. Pinned: the relay on CPU 1, the load generator with both ends on CPU 0. Constant: loopback, one yamux frame in
one Noise message, windows that grow to 16 MiB as go's do, the largest frame at 65,507 bytes (a full Noise message).
The reference relays the same frames without a muxer, and always 65,507 bytes where a row says "to 64 KiB".
"""

import pytest

from benchmarks.conftest import METER, Compare, Form, Judge
from benchmarks.generator import KIB, LARGEST_FRAME, Generator
from benchmarks.relays import Relay
from benchmarks.results import Bound

pytestmark = [pytest.mark.benchmark(timer=METER, group="CPU seconds per GB"), pytest.mark.timeout(300)]

_SIZES = {"64 KiB": LARGEST_FRAME, "16 KiB": 16 * KIB, "1 KiB": KIB}
_PAIRS = {1: 1, 10: 2, 100: 20}
_REQUIRED = {
    ("64 KiB", 1, False): Bound(1.15, 1.03),
    ("64 KiB", 100, False): Bound(1.30, 1.10),
    ("16 KiB", 1, False): Bound(1.40, 1.15),
    ("1 KiB", 1, False): Bound(1.2, 0.8),
}


@pytest.mark.parametrize("both_ways", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("circuits", list(_PAIRS))
@pytest.mark.parametrize("size", list(_SIZES))
def test_cpu_per_gb(
    size: str,
    circuits: int,
    both_ways: bool,
    relay: Relay,
    reference: Relay,
    generator: Generator,
    form: Form,
    compare: Compare,
    judge: Judge,
) -> None:
    bound = _REQUIRED.get((size, circuits, both_ways))
    if form.short and bound is None:
        pytest.skip("only in the full form")
    compared_to = KIB if size == "1 KiB" else LARGEST_FRAME

    def of_reference() -> float:
        return generator.bulk(
            reference, frame=compared_to, both_ways=both_ways, seconds=form.seconds, warmup=form.warmup
        ).cpu_s_per_gb

    def of_relay() -> float:
        return generator.bulk(
            relay,
            frame=_SIZES[size],
            circuits=circuits,
            pairs=_PAIRS[circuits],
            both_ways=both_ways,
            seconds=form.seconds,
            warmup=form.warmup,
        ).cpu_s_per_gb

    plural = "circuit" if circuits == 1 else f"circuits over {2 * _PAIRS[circuits]} connections"
    judge(
        compare(
            relay,
            f"CPU, {circuits} {plural}, frames of {size}, {'both ways' if both_ways else 'one way'}",
            "s/GB",
            of_relay,
            of_reference,
            frame=compared_to,
            bound=bound,
            note="to 64 KiB frames" if compared_to != _SIZES[size] else "",
        )
    )
