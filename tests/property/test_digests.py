"""Digests and the gossip's messages: what their signer may say survives, and nothing else is taken."""

from __future__ import annotations

import random

import pytest
from fuzz.python.reputation_message import NOW, SEED, check, seeds
from hypothesis import given
from hypothesis import strategies as st

from towpath import cbor
from towpath.credits.receipts import Receipt, fraud_proof
from towpath.credits.receipts import sign as sign_receipt
from towpath.identity import Identity
from towpath.reputation import digest as digests
from towpath.reputation.digest import (
    AGE_S,
    DAY_S,
    LEAST,
    LIFE_S,
    MAX_DIGEST,
    MAX_PAID,
    Digest,
    DigestError,
    NotNow,
    backs,
    check_time,
    compose,
    due,
    power,
    read,
    sign,
)
from towpath.reputation.messages import Fraud, of_digest, of_fraud, open_message
from towpath.signed import signed

PAYER = Identity(SEED).peer_id[6:]
RELAYS = [Identity(bytes((n,)) * 32).peer_id for n in range(32)]

amounts = st.integers(0, 2**62)
days = st.integers(0, 2**24)
paid = st.dictionaries(st.sampled_from(RELAYS), amounts, max_size=32)


@given(days, paid)
def test_what_was_paid_comes_out_as_it_went_in_largest_amounts_first(day: int, amounts_paid: dict[bytes, int]) -> None:
    digest = compose(PAYER, RELAYS[0], day, amounts_paid)
    worth = {relay: n for relay, n in amounts_paid.items() if n >= 1 << LEAST}
    if digest is None:
        assert not worth
        return
    raw = sign(digest, SEED)
    assert len(raw) <= MAX_DIGEST
    assert read(raw) == digest
    assert len(digest.paid) == min(MAX_PAID, len(worth))
    told = dict(digest.paid)
    for relay, said in told.items():
        assert 1 << said <= worth[relay] < 2 << said
    left = [power(n) for relay, n in worth.items() if relay not in told]
    assert all(said >= max(left, default=0) for said in told.values())
    assert all(backs(digest, relay, worth[relay]) for relay in told)
    assert not any(backs(digest, relay, (1 << said) - 1) for relay, said in told.items())
    assert not backs(digest, Identity.generate().peer_id, 2**62)


def test_the_longest_digest_fits_in_a_record() -> None:
    digest = compose(PAYER, RELAYS[0], 2**24, dict.fromkeys(RELAYS, 2**62))
    assert digest is not None
    assert len(digest.paid) == MAX_PAID
    assert len(sign(digest, SEED)) <= MAX_DIGEST


@given(st.floats(2 * DAY_S + AGE_S, 1e10))
def test_a_day_is_told_of_only_when_it_is_over_for_a_day_and_not_for_long(now: float) -> None:
    newest = due(now)
    digest = compose(PAYER, RELAYS[0], newest, {RELAYS[1]: 1 << 30})
    assert digest is not None
    assert now - (newest + 1) * DAY_S >= AGE_S
    check_time(digest, now)
    with pytest.raises(NotNow):
        check_time(digest, now + LIFE_S)
    with pytest.raises(NotNow):
        check_time(digest, now - AGE_S - 600)


def body(**changed: object) -> bytes:
    fields: dict[str, object] = {
        "v": 1,
        "payer": PAYER,
        "at": RELAYS[0],
        "day": 19_000,
        "paid": [[relay, 20] for relay in sorted(RELAYS[:2])],
    }
    return cbor.encode(fields | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"v": 2}, "2"),
        ({"payer": bytes(32)}, "somebody else"),
        ({"payer": PAYER[:31]}, "32"),
        ({"at": bytes(38)}, "Ed25519"),
        ({"day": -1}, "0"),
        ({"paid": []}, "1"),
        ({"paid": [[RELAYS[0], LEAST - 1]]}, "20"),
        ({"paid": [[RELAYS[0], 63]]}, "62"),
        ({"paid": [[RELAYS[0], 20, 20]]}, "length"),
        ({"paid": [[RELAYS[0], 20], [RELAYS[0], 21]]}, "once"),
        ({"paid": [[relay, 20] for relay in sorted(RELAYS[:2], reverse=True)]}, "order"),
        ({"more": 1}, "more"),
    ],
)
def test_a_digest_out_of_bounds_is_refused_and_the_reason_is_told(changed: dict[str, object], why: str) -> None:
    assert read(signed("digest", body(), SEED)).payer == PAYER
    with pytest.raises(DigestError, match=why):
        read(signed("digest", body(**changed), SEED))


def test_what_was_signed_as_something_else_or_by_somebody_else_is_no_digest() -> None:
    for raw in (signed("receipt", body(), SEED), signed("digest", body(), bytes(32)), b"", bytes(2000)):
        with pytest.raises(DigestError):
            read(raw)


def test_a_fraud_proof_names_its_account_and_a_message_of_a_later_version_is_left_alone() -> None:
    two = [
        sign_receipt(Receipt(v=1, relay=RELAYS[0], payer=PAYER, day=1, seq=5, cum_bytes=n, ok=0, fail=0), SEED)
        for n in (1, 2)
    ]
    proof = fraud_proof(*two)
    assert open_message(of_fraud(proof), NOW) == Fraud(PAYER, proof)
    with pytest.raises(DigestError):
        open_message(of_fraud(proof[:-1]), NOW)
    with pytest.raises(NotNow):
        open_message(b"\x03" + proof, NOW)
    with pytest.raises(NotNow):
        open_message(of_digest(signed("digest", body(), SEED)), NOW)


@given(st.binary(max_size=1200))
def test_no_bytes_bring_about_anything_but_a_refusal(data: bytes) -> None:
    check(data)


def test_changed_messages_are_read_rightly_or_not_at_all() -> None:
    chance = random.Random(11)
    for seed in seeds():
        check(seed)
        for _ in range(150):
            data = bytearray(seed)
            at = chance.randrange(len(data))
            data[at] ^= 1 << chance.randrange(8)
            check(bytes(data))


def test_the_seeds_are_taken_as_they_are() -> None:
    whole = [seed[1:] for seed in seeds() if seed[0] == 0]
    taken = [open_message(message, NOW) for message in whole]
    assert [type(one) for one in taken] == [Digest, Fraud]
    assert digests.DAY_S == 86400
