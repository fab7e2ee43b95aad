"""What people read of a relay's codes and numbers."""

from __future__ import annotations

import pytest

from towpath.relaystream.messages import Allowance, Moving, Period, Refused
from towpath.relaystream.reasons import (
    Reason,
    allowance_sentences,
    in_words,
    moving_sentence,
    refusal_sentence,
)

GB = 10**9


def refused(code: int, have: int | None = None, limit: int | None = None, **more: object) -> str:
    return refusal_sentence(Refused(request=0, code=code, have=have, limit=limit, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        (refused(Reason.RESERVATIONS_FULL, 128, 128), "it holds 128 of 128 reservations; use another relay"),
        (refused(Reason.RESERVATIONS_FULL), "it holds all its reservations; use another relay"),
        (
            refused(Reason.NETWORK_FULL, 8, 8),
            "8 of 8 reservations that your network may have there are held; use another relay",
        ),
        (refused(Reason.CIRCUITS_FULL, 256, 256), "it carries 256 of 256 circuits; use another relay"),
        (
            refused(Reason.PEER_FULL, 16, 16),
            "16 of 16 circuits that one of the two peers may have there are open; use another relay",
        ),
        (
            refused(Reason.QUOTA, 450_000_000, 5 * GB, period="day", again=10_000),
            "9% of its daily quota of 5 GB is left, until it is full again in 3 h; use another relay",
        ),
        (refused(Reason.QUOTA), "its quota is nearly used up; use another relay"),
        (refused(Reason.QUOTA, 0, 0, period="hour"), "its hourly quota is nearly used up; use another relay"),
        (refused(Reason.RATE, None, 250_000), "its rate of 250 kB/s is used up; use another relay"),
        (
            refused(Reason.PAUSED, again=600),
            "its owner paused it, and asking again makes sense in 10 min; use another relay",
        ),
        (refused(Reason.MODE), "its owner switched relaying off; use another relay"),
        (
            refused(Reason.SCHEDULE, again=120),
            "it does not relay at this hour, and asking again makes sense in 120 s; use another relay",
        ),
        (refused(Reason.DENIED), "its owner does not let this peer in; ask its owner, or use another relay"),
        (refused(Reason.RESTING), "it leaves the line to its owner for now; use another relay"),
        (refused(Reason.STOPPING), "it is about to stop; use another relay"),
        (
            refused(Reason.FREE_TIER_NETWORK, 50_000_000, 10**9, again=3600),
            "its free tier for your network is used up, and refills to 50 MB in 60 min; "
            "relaying for others raises it (towpath mode cooperative), or use another relay",
        ),
        (
            refused(Reason.FREE_TIER_ACCOUNT, 0, 10**9),
            "its free tier for your account is used up, and does not refill; "
            "relaying for others raises it (towpath mode cooperative), or use another relay",
        ),
        (
            refused(Reason.QUOTA_PROMISED, again=7200),
            "your share of what is left of its quota is promised to circuits that are open, and asking again makes "
            "sense in 120 min; use another relay",
        ),
        (
            refused(Reason.FREE_SEATS, 40, 256),
            "it is crowded, and your network has its share of the reservations (40 of 256); "
            "relaying for others raises it (towpath mode cooperative), or use another relay",
        ),
        (
            refused(Reason.OTHER_END, again=60),
            "the other peer has used up its free tier there, and refills in 60 s; "
            "it goes on earlier when that peer relays for others, or use another relay",
        ),
        (refused(77, 1, 2), "it has a reason that this version does not know (code 77); use another relay"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(sentence: str, said: str) -> None:
    assert sentence == said


def test_every_reason_has_words_for_refusing_and_for_moving_out() -> None:
    for code in Reason:
        assert "does not know" not in refused(code)
        if Reason.RATE < code < Reason.FREE_TIER_NETWORK:
            assert "does not know" not in moving_sentence(Moving(code=code))


def test_moving_out_says_when_what_is_open_ends_and_when_it_is_back() -> None:
    assert moving_sentence(Moving(code=Reason.STOPPING)) == "it is about to stop"
    told = Moving(code=Reason.PAUSED, after=60, again=7201)
    assert moving_sentence(told) == "its owner paused it, and ends what is open in 60 s, and is back in 3 h"
    assert moving_sentence(Moving(code=99, after=0)).endswith("(code 99), and ends what is open now")


def test_what_is_left_is_told_of_each_period() -> None:
    allowance = Allowance((Period("day", 5 * GB, 1_230_000_000, 60), Period("month", 999, 0, 60)), 1500)
    assert allowance_sentences(allowance) == [
        "1.23 GB of 5 GB left of its daily quota",
        "0 B of 999 B left of its monthly quota",
        "carries 1.5 kB/s for all together",
    ]
    assert allowance_sentences(Allowance()) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (120, "120 s"), (121, "3 min"), (7200, "120 min"), (7201, "3 h"), (172801, "3 d")],
)
def test_times_are_rounded_up(seconds: int, words: str) -> None:
    assert in_words(seconds) == words
