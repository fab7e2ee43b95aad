"""What the owner is told of refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.controlled import PEER, RELAY
from towpath.addresses import peer_id_to_bytes
from towpath.relay.refusals import PACE_S, Refusals, owners_reason
from towpath.relaystream.reasons import Reason, Request
from towpath.settings.schema import KEYS

DIALER, TARGET = peer_id_to_bytes(PEER), peer_id_to_bytes(RELAY)


class Told:
    def __init__(self) -> None:
        self.now = 100.0
        self.events: list[dict[str, Any]] = []
        self.refusals = Refusals(self._publish, lambda: self.now)

    def _publish(self, kind: str, sentence: str, **facts: Any) -> None:
        self.events.append({"kind": kind, "sentence": sentence, **facts})


def test_a_refusal_says_who_why_and_which_setting() -> None:
    told = Told()
    told.refusals.note(DIALER, Request.CONNECT, Reason.CIRCUITS_FULL, 256, 256, target=TARGET)
    (event,) = told.events
    assert event["kind"] == "circuit_refused"
    assert event["sentence"].endswith("was refused: 256 of 256 circuits are open (relay.max_circuits)")
    assert (event["peer"], event["target"], event["code"]) == (PEER, RELAY, int(Reason.CIRCUITS_FULL))


def test_a_flood_is_one_event_in_ten_seconds_that_says_how_many() -> None:
    told = Told()
    for _ in range(1000):
        told.refusals.note(DIALER, Request.RESERVE, Reason.DENIED)
        told.now += PACE_S / 1001
    assert len(told.events) == 1
    told.now += PACE_S
    told.refusals.note(DIALER, Request.RESERVE, Reason.DENIED)
    assert [event["more"] for event in told.events] == [0, 999]
    assert told.events[1]["sentence"].endswith("; 999 more since the last one told")


@pytest.mark.parametrize("code", list(Reason))
def test_every_reason_has_words_for_the_owner(code: Reason) -> None:
    for numbers in ((None, None, None), (3, 4, "hour")):
        words = owners_reason(code, *numbers)
        assert "{" not in words
        assert "of reason" not in words
        for word in words.replace("(", " ").replace(")", " ").split():
            assert "." not in word or word in KEYS, word


def test_a_reason_that_nobody_knows_is_told_as_a_number() -> None:
    assert owners_reason(4711, None, None, None) == "of reason 4711"
