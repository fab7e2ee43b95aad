"""What the owner is told of priority."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from towpath.credits.priority import priority


def said(*first: bool) -> list[Any]:
    return [SimpleNamespace(priority=one) for one in first]


@pytest.mark.parametrize(
    ("standings", "words"),
    [
        (said(*[True] * 14, False), "priority at 14 relays"),
        (said(True), "priority at 1 relay"),
        (said(False), "at the relay that you use yet: relaying for others earns it"),
        (said(False, False), "at any of the 2 relays that you use yet"),
        ([None, None], "no relay has said yet"),
    ],
)
def test_priority_is_counted_over_the_relays_that_said_so(standings: list[Any], words: str) -> None:
    told = priority(True, standings)
    assert words in told["sentence"]
    assert told["priority_at"] == sum(one is not None and one.priority for one in standings)
    assert told["told_by"] == sum(one is not None for one in standings)


def test_who_shows_no_account_is_told_why_there_is_no_priority() -> None:
    assert "relay.priority_access is off" in priority(False, [])["sentence"]
