"""What people read of balances and decisions."""

from __future__ import annotations

import time

import pytest

from towpath.credits.explaining import (
    balance_sentences,
    carried_sentence,
    decision_sentence,
    free_tier_sentences,
    standing_sentence,
)
from towpath.credits.free_tier import Bucket, Tier
from towpath.credits.ledger import Standing
from towpath.credits.policy import Asked, Load, Seats, should_accept_circuit
from towpath.credits.senders import Sender
from towpath.credits.told import Told, refused_in_words, standing_in_words
from towpath.relaystream.messages import Refused
from towpath.relaystream.messages import Standing as Said
from towpath.relaystream.reasons import Reason

NOW = 1_800_000_000.0
MIB = 1 << 20
GB = 10**9
NETWORK = b"\xc0\x00\x02"
BUSY = Load(0.2, 0.91, 0.1, 0.0)
STRANGER = Asked(None, NETWORK, 0, load=BUSY, tier=Tier(GB, 50e6 / 3600))


def decided(asked: Asked) -> str:
    return decision_sentence(asked, should_accept_circuit(asked, NOW), time.gmtime)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (STRANGER._replace(enforce="never"), "Accepted: the owner asks nothing in return (credits.enforce is never)."),
        (
            STRANGER._replace(load=Load(0.12, 0.03)),
            "Accepted without a limit: the relay is quiet (the rate in use to 12%); below 70% nobody is asked for "
            "anything.",
        ),
        (
            STRANGER._replace(account=bytes(32), earned=200 * MIB, spent=50 * MIB),
            "Accepted on its credit, and served first: 150 credits are left; one circuit gets 39.3 MB of that each "
            "way.",
        ),
        (
            STRANGER._replace(free_left_prefix=GB),
            "Accepted on the free tier: 1 GB are left; one circuit gets 250 MB of that each way.",
        ),
        (
            STRANGER,
            "Refused: the relay is crowded (the circuits in use to 91%), it has 0 credits, and 0 B are left of the "
            "free tier of its network; less than 1.05 MB in all is not worth a circuit. By 09:00 there are 50 MB "
            "again; relaying for others raises it.",
        ),
        (
            STRANGER._replace(enforce="always", tier=Tier(GB, 0.0)),
            "Refused: the owner asks for it always, it has 0 credits, and 0 B are left of the free tier of its "
            "network; less than 1.05 MB in all is not worth a circuit. The free tier does not refill: only relaying "
            "for others helps.",
        ),
        (
            STRANGER._replace(account=bytes(32), earned=GB, rider=True),
            "Refused: the relay is crowded (the circuits in use to 91%), it does not sign for what it has, and 0 B are "
            "left of the free tier of its network; less than 1.05 MB in all is not worth a circuit. By 09:00 there are "
            "50 MB again; relaying for others raises it.",
        ),
        (
            STRANGER._replace(free_left_prefix=GB, seats=Seats(100, 0, 60, 30)),
            "Refused: the relay is crowded (the circuits in use to 91%), it has no credit that is free, and its "
            "network has 30 circuits, which is its share.",
        ),
    ],
)
def test_a_decision_is_a_sentence_with_its_numbers(asked: Asked, sentence: str) -> None:
    assert decided(asked) == sentence


def test_a_balance_says_how_it_came_about() -> None:
    assert "Nothing has been earned or spent" in balance_sentences(0, 0, 0, 0, 0)[0]
    earned, spent, left = balance_sentences(150 * MIB, 20 * MIB, 200 * MIB, 20 * MIB, 3)
    assert earned == (
        "150 credits earned: 210 MB relayed for 3 accounts that signed for it, of which half fades in 30 days."
    )
    assert spent == "20 credits spent: 21 MB sent through relays and signed for."
    assert left == "That leaves 130 credits: relays that know of it serve this node first when crowded."
    assert "no credit" in balance_sentences(0, 20 * MIB, 0, 20 * MIB, 0)[2]


def test_a_standing_says_where_it_comes_from() -> None:
    assert standing_sentence(Standing(), 0, 0) == (
        "It has no credit here: it relayed nothing for us, and nobody whom we owe owes it anything."
    )
    assert standing_sentence(Standing(120 * MIB, 30 * MIB, 10 * MIB), 50 * MIB, 20 * MIB) == (
        "Its credit here: 126 MB for what it relayed for us and 31.5 MB through others whom we owe, of which it has "
        "just used 10.5 MB; 52.4 MB of its circuits were paid so until now; 21 MB of what is left are promised to open "
        "circuits."
    )


def test_what_was_carried_says_what_paid_for_it() -> None:
    sender = Sender(3_000_000, 2_000_000, 1_000_000, Bucket(), NOW, NOW)
    assert carried_sentence(sender) == (
        "Carried for it: 3 MB on its credit, 2 MB on its free tier, 1 MB as a gift, while nothing was asked in return."
    )


def test_free_tiers_say_when_they_are_full_again() -> None:
    asked = Asked(bytes(32), NETWORK, 500_000_000, GB, tier=Tier(GB, 50e6 / 3600))
    assert free_tier_sentences(asked) == [
        "Free tier of its account: 1 GB of 1 GB left.",
        "Free tier of its network 192.0.2.0/24: 500 MB of 1 GB left, full again in 11 h.",
    ]
    assert "unlimited" in free_tier_sentences(asked._replace(tier=Tier(None, None)))[0]


def test_what_relays_said_is_kept_the_newest_first() -> None:
    told = Told()
    for at in range(20):
        told.refused(b"one", Refused(request=1, code=int(Reason.FREE_TIER_NETWORK), again=60), NOW + at)
    told.refused(b"other", Refused(request=0, code=int(Reason.PAUSED)), NOW + 100)
    assert [refusal.at for refusal in told.of(b"one")][:2] == [NOW + 19, NOW + 18]
    assert len(told.of(b"one")) == 8
    assert told.newest(1)[0].relay == b"other"
    words = refused_in_words(told.newest(1)[0], "…abc", time.gmtime)
    assert words == "At 08:01 the relay …abc refused a reservation: its owner paused it; use another relay."
    for number in range(1000):
        told.refused(str(number).encode(), Refused(request=1, code=1), NOW)
    assert told.of(b"one") == []


def test_a_relays_word_on_our_account() -> None:
    assert standing_in_words(Said(priority=True, credit=5_000_000, free=GB)) == (
        "It serves this node first when it is crowded: 5 MB of credit are left, and 1 GB of its free tier are left."
    )
    assert "no priority" in standing_in_words(Said(priority=False, credit=0))
