"""Evidence as peers bring it, from random bytes and from changed receipts with good signatures."""

from __future__ import annotations

import random

from fuzz.python.__main__ import changed
from fuzz.python.credit_evidence import check, seeds
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_random_bytes_are_worth_nothing(data: bytes) -> None:
    check(data)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_changed_evidence_is_worth_nothing_that_was_not_carried(seed: int) -> None:
    check(changed(random.Random(seed), seeds()))


def test_the_seeds_hold() -> None:
    for seed in seeds():
        check(seed)
