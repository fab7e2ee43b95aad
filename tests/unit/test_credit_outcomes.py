"""What receipts say of relays: how often they served and failed, by day, and no more than is useful."""

from __future__ import annotations

from towpath.credits.outcomes import RELAYS, Outcomes
from towpath.credits.receipts import DAY_S

NOON = 20_000 * DAY_S + DAY_S / 2


def test_each_day_counts_for_itself() -> None:
    counts = Outcomes()
    for served in (True, True, False):
        counts.note(b"a", served, NOON)
    counts.note(b"a", False, NOON + DAY_S)
    assert counts.of(b"a", 20_000) == (2, 1)
    assert counts.of(b"a", 20_001) == (0, 1)
    assert counts.of(b"b", 20_000) == (0, 0)


def test_those_that_were_used_last_are_remembered() -> None:
    counts = Outcomes()
    for n in range(RELAYS + 5):
        counts.note(b"first", True, NOON)
        counts.note(b"%d" % n, True, NOON)
    assert counts.of(b"first", 20_000) == (RELAYS + 5, 0)
    assert counts.of(b"0", 20_000) == (0, 0)
