"""Tickets: what they hold, and that a damaged one is told from a good one."""

from __future__ import annotations

import pytest

from towpath import addresses, cbor
from towpath.client.ticket import Ticket, _checksum, new_secret
from towpath.errors import TicketError

PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
RELAY = f"/ip4/203.0.113.7/tcp/4001/p2p/{PEER}"
TICKET = Ticket(PEER, (RELAY, f"/dns4/relay.example/tcp/1/p2p/{PEER}"), bytes(range(16)), 1_900_000_000)


def test_a_ticket_survives_its_text() -> None:
    assert Ticket.decode(TICKET.encode()) == TICKET
    assert Ticket.decode(f"  {TICKET.encode()}\n") == TICKET
    assert Ticket.decode(TICKET._replace(relays=(), expires_at=None).encode()).expires_at is None


def test_a_ticket_is_one_word_that_a_double_click_selects() -> None:
    assert TICKET.encode().isalnum()
    assert TICKET.encode().startswith("tp1")


def test_a_ticket_expires_at_its_time_and_not_before() -> None:
    assert not TICKET.expired(1_899_999_999.9)
    assert TICKET.expired(1_900_000_000)
    assert not TICKET._replace(expires_at=None).expired(1e18)


def test_secrets_differ() -> None:
    assert new_secret() != new_secret()


def test_any_changed_character_is_noticed() -> None:
    text = TICKET.encode()
    for at in range(len(text)):
        changed = text[:at] + ("2" if text[at] != "2" else "3") + text[at + 1 :]
        with pytest.raises(TicketError):
            Ticket.decode(changed)


@pytest.mark.parametrize("text", ["", "tp1", "tp2abc", "tp1" + "z" * 3000, "tp10", "tp1z", PEER, TICKET.encode()[:-1]])
def test_what_is_no_ticket_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(TicketError, match=r"ticket"):
        Ticket.decode(text)


def forge(**changes: cbor.Value) -> str:
    """A ticket with a right checksum and wrong fields."""
    fields: dict[str, cbor.Value] = {
        "v": 1,
        "peer": addresses.peer_id_to_bytes(PEER),
        "relays": [addresses.to_bytes(RELAY)],
        "secret": bytes(16),
        "expires": None,
    }
    fields.update(changes)
    body = cbor.encode({key: value for key, value in fields.items() if value != "missing"})
    return "tp1" + addresses.base58_encode(body + _checksum(body))


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"v": "missing"},
        {"peer": b"\0\1"},
        {"peer": PEER},
        {"relays": [b"\1"]},
        {"relays": [addresses.to_bytes("/ip4/1.2.3.4/tcp/1")]},
        {"relays": [addresses.to_bytes(f"{RELAY}/p2p-circuit")]},
        {"relays": [addresses.to_bytes(RELAY)] * 9},
        {"relays": [7]},
        {"relays": None},
        {"secret": bytes(15)},
        {"secret": "x" * 16},
        {"expires": -1},
        {"expires": True},
        {"expires": "never"},
        {"more": 1},
        {"secret": "missing"},
    ],
)
def test_wrong_fields_are_refused_although_the_checksum_is_right(changes: dict[str, cbor.Value]) -> None:
    with pytest.raises(TicketError, match="cannot be read"):
        Ticket.decode(forge(**changes))


def test_the_forger_would_succeed_with_right_fields() -> None:
    assert Ticket.decode(forge()) == Ticket(PEER, (RELAY,), bytes(16), None)
