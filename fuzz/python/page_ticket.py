"""Tickets to the page: nobody gets in without the proof, and nobody twice."""

from __future__ import annotations

from towpath.web.ticket import GOOD_FOR, NONCE, Tickets, issue

__all__ = ["check", "seeds"]

_TOKEN = "t" * 43
_NOW = 1_800_000_000


def seeds() -> list[bytes]:
    """Good ones, old ones, somebody else's."""
    given = [(token, now) for token in (_TOKEN, "o" * 43) for now in (_NOW, _NOW - 1_000, _NOW + 1_000)]
    return [issue(token, now, bytes(NONCE)).encode() for token, now in given]


def check(data: bytes) -> None:
    """AssertionError when somebody is let in who must not be; any other exception is a fault of the reader, too."""
    tickets, said = Tickets(_TOKEN), data.decode("latin-1")
    if tickets.take(said, _NOW):
        _must(
            said == issue(_TOKEN, int(said.split(".")[0]) - GOOD_FOR, bytes.fromhex(said.split(".")[1])),
            "it was made up",
        )
        _must(not tickets.take(said, _NOW), "it was taken twice")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
