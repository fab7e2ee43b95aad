"""The receipts known: no order, repetition, crash or clock makes credit, and nobody pushes out what others brought."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.credits import known
from towpath.credits.known import Known, Row, Used
from towpath.credits.receipts import DAY_S, Receipt, Signed

DAY = 20_000
NOW = DAY * DAY_S + 1000.0
MIB = 1 << 20
US = 0


def account(number: int) -> bytes:
    return number.to_bytes(32, "big")


def relay(number: int) -> bytes:
    return b"\x00\x24\x08\x01\x12\x20" + number.to_bytes(32, "little")


def receipt(payer: int, carrier: int, cum: int, *, seq: int = 1, day: int = DAY, own: int | None = None) -> Signed:
    """One that was checked: what is known never looks at a signature."""
    said = Receipt(1, relay(carrier), account(payer), day, seq, cum, 0, 0)
    return Signed(said, b"raw", b"dual", account(carrier if own is None else own))


people = st.integers(0, 5)
receipts = st.lists(
    st.builds(
        receipt,
        people,
        people,
        # One number, one total: what conflicts is a proof, and tested where there are signatures.
        st.integers(1, 5).map(lambda n: n * MIB),
        day=st.integers(DAY - 40, DAY),
    ),
    max_size=20,
    unique_by=lambda one: (one.receipt.payer, one.receipt.relay, one.receipt.day),
)


def credit(books: Known, number: int, now: float = NOW) -> int:
    return sum(books.reach(account(number), now))


@given(receipts, st.randoms(use_true_random=False))
def test_order_and_repetition_of_receipts_change_nothing(shown: list[Signed], rng: random.Random) -> None:
    once, again = Known(account(US)), Known(account(US))
    once.add(shown, NOW)
    mixed = shown + shown
    rng.shuffle(mixed)
    again.add(mixed, NOW)
    again.add(shown, NOW)
    assert [credit(once, number) for number in range(1, 6)] == [credit(again, number) for number in range(1, 6)]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 20)), min_size=1, max_size=8), st.randoms())
def test_the_newest_of_a_day_counts_in_whatever_order_they_come(
    said: list[tuple[int, int]], rng: random.Random
) -> None:
    cumulative = {seq: sum(n for other, n in said if other <= seq) * MIB for seq, _ in said}
    shown = [receipt(US, 1, cum, seq=seq) for seq, cum in cumulative.items()]
    rng.shuffle(shown)
    books = Known(account(US))
    for one in shown:
        books.add([one], NOW)
    assert credit(books, 1) == max(cumulative.values())


clock_steps = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 9 * MIB), st.floats(-60, 60), st.booleans()), max_size=12
)


@given(receipts, clock_steps)
def test_no_clock_and_no_crash_makes_more_of_what_was_carried_for_us(
    shown: list[Signed], steps: list[tuple[int, int, float, bool]]
) -> None:
    books = Known(account(US))
    rows = {row.key: row for row in books.add(shown, NOW).kept}
    ours = sum(row.cum_bytes for row in rows.values() if row.payer == account(US))
    used: dict[tuple[bytes, bytes], Used] = {}
    taken = 0
    for number, amount, days, crash in steps:
        now = NOW + days * DAY_S
        before = credit(books, number, now)
        for one in books.use(account(number), amount, now):
            used[one.payer, one.account] = one
        after = credit(books, number, now)
        assert 0 <= before - after <= amount
        taken += before - after
        if crash:
            books = Known(account(US))
            books.load(rows.values(), used.values())
    assert taken <= ours


@given(receipts, st.integers(1, 5), st.integers(0, 20 * MIB))
def test_showing_receipts_again_gives_nothing_back(shown: list[Signed], number: int, amount: int) -> None:
    books = Known(account(US))
    books.add(shown, NOW)
    books.use(account(number), amount, NOW)
    before = [credit(books, other) for other in range(1, 6)]
    books.add(shown, NOW)
    assert [credit(books, other) for other in range(1, 6)] == before


def test_work_that_was_used_up_under_one_account_is_not_there_again_under_another() -> None:
    books = Known(account(US))
    books.add([receipt(US, 1, 10 * MIB)], NOW)
    books.use(account(1), 10 * MIB, NOW)
    taken = books.add([receipt(US, 1, 10 * MIB, seq=2, own=2)], NOW)
    assert taken.refused == 1
    assert credit(books, 2) == 0


def test_what_was_used_fades_as_what_was_earned_does() -> None:
    books = Known(account(US))
    books.add([receipt(US, 1, 100 * MIB)], NOW)
    books.use(account(1), 60 * MIB, NOW)
    later = NOW + 30 * DAY_S
    assert credit(books, 1) == 40 * MIB
    assert credit(books, 1, later) == 20 * MIB
    books.use(account(1), 20 * MIB, later)
    assert credit(books, 1, later) == 0
    assert credit(books, 1, NOW) == 0
    assert credit(books, 1, later + 30 * DAY_S) == 0


def test_an_edge_that_is_given_fills_up_again() -> None:
    books = Known(account(US))
    books.give({account(1): 64 * MIB, account(US): MIB})
    books.use(account(1), 64 * MIB, NOW)
    assert credit(books, 1) == 0
    assert credit(books, 1, NOW + 30 * DAY_S) == 32 * MIB
    books.give({})
    assert credit(books, 1, NOW + 30 * DAY_S) == 0


def test_receipts_that_lead_nowhere_from_us_are_not_kept() -> None:
    books = Known(account(US))
    # 5 is four receipts away.
    chain = [receipt(4, 5, MIB), receipt(3, 4, MIB), receipt(2, 3, MIB), receipt(1, 2, MIB), receipt(US, 1, MIB)]
    taken = books.add(chain, NOW)
    assert [row.payer for row in taken.kept] == [account(number) for number in (US, 1, 2)]
    assert taken.refused == 2
    assert credit(books, 3) == MIB
    assert credit(books, 4) == 0


@pytest.mark.parametrize("shape", ["fan", "bush"])
def test_a_flood_of_signed_nonsense_pushes_out_nobody_elses_receipts(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MAX_ROWS", 200)
    books = Known(account(US))
    honest = [receipt(US, 1, 50 * MIB), *(receipt(1, 100 + n, 2 * MIB) for n in range(20))]
    books.add(honest, NOW)
    # A relay that carried as much for us signs for hundreds of identities, which sign for hundreds.
    books.add([receipt(US, 2, 50 * MIB)], NOW)
    kept = len(books)
    flood: list[Signed] = []
    for n in range(400):
        flood.append(receipt(2, 1000 + n, 10**12))
        if shape == "bush":
            flood += [receipt(1000 + n, 2000 + 3 * n + m, 10**12) for m in range(3)]
    dropped = 0
    for first in range(0, len(flood), 64):
        dropped += len(books.add(flood[first : first + 64], NOW).dropped)
        assert len(books) <= 200
    assert dropped > 0
    assert len(books) > kept
    assert [credit(books, 100 + n) for n in range(20)] == [2 * MIB] * 20


def test_what_goes_out_from_us_is_forgotten_last_as_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_USED", 20)
    books = Known(account(US))
    books.add([receipt(US, 1, 1000 * MIB), *(receipt(1, 100 + n, 10 * MIB) for n in range(60))], NOW)
    written: dict[tuple[bytes, bytes], Used] = {}
    for n in range(60):
        for one in books.use(account(100 + n), 5 * MIB, NOW):
            written[one.payer, one.account] = one
    assert len([one for one in written.values() if one.amount]) <= 20
    assert written[account(US), account(1)].amount == 300 * MIB
    assert credit(books, 1) == 700 * MIB


def test_a_proven_liars_receipts_are_forgotten_and_not_taken_again() -> None:
    books = Known(account(US))
    books.add([receipt(US, 1, 5 * MIB), receipt(1, 2, MIB), receipt(1, 3, MIB)], NOW)
    assert len(books.distrust(account(1))) == 2
    assert books.add([receipt(1, 2, 9 * MIB, seq=2)], NOW).refused == 1
    assert credit(books, 2) == 0
    assert credit(books, 1) == 5 * MIB


def test_what_was_written_down_is_loaded_as_it_was() -> None:
    books, again = Known(account(US)), Known(account(US))
    rows: Sequence[Row] = books.add([receipt(US, 1, 5 * MIB), receipt(1, 2, MIB)], NOW).kept
    used = books.use(account(2), MIB // 2, NOW)
    again.load(rows, used)
    assert [again.reach(account(n), NOW) for n in (1, 2)] == [books.reach(account(n), NOW) for n in (1, 2)]
