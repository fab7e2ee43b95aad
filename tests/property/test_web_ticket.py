"""Tickets: each is good once, for two minutes, and for the node whose owner made it alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towpath.web.ticket import GOOD_FOR, NONCE, Tickets, issue

TOKENS = st.text("abcXYZ019-_", min_size=43, max_size=43)
TIMES = st.integers(10**6, 10**11)
NONCES = st.binary(min_size=NONCE, max_size=NONCE)


@given(TOKENS, TIMES, NONCES, st.integers(0, GOOD_FOR), st.integers(0, GOOD_FOR))
def test_a_ticket_is_good_once(token: str, now: int, nonce: bytes, first: int, again: int) -> None:
    tickets, ticket = Tickets(token), issue(token, now, nonce)
    assert tickets.take(ticket, now + first)
    assert not tickets.take(ticket, now + again)


@given(TOKENS, TIMES, NONCES, st.floats(0.001, 1e9))
def test_a_ticket_is_not_good_for_long(token: str, now: int, nonce: bytes, late: float) -> None:
    ticket = issue(token, now, nonce)
    assert not Tickets(token).take(ticket, now + GOOD_FOR + late)
    assert not Tickets(token).take(ticket, now - late)


@given(TOKENS, TOKENS, TIMES, NONCES)
def test_a_ticket_is_good_at_its_node_only(token: str, other: str, now: int, nonce: bytes) -> None:
    assert Tickets(other).take(issue(token, now, nonce), now) is (token == other)


@given(TOKENS, TIMES, st.text(max_size=200))
def test_nothing_else_is_a_ticket(token: str, now: int, text: str) -> None:
    assert not Tickets(token).take(text, now)


@given(TOKENS, TIMES, NONCES, st.data())
def test_a_ticket_that_was_changed_is_none(token: str, now: int, nonce: bytes, data: st.DataObject) -> None:
    ticket = issue(token, now, nonce)
    at = data.draw(st.integers(0, len(ticket) - 1))
    put = data.draw(st.sampled_from("0123456789abcdef.x"))
    changed = ticket[:at] + put + ticket[at + 1 :]
    assert Tickets(token).take(changed, now) is (changed == ticket)
