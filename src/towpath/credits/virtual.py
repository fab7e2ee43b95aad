"""Credit without receipts: what relays that we probe have with us, and what the operator gives. Pure.

A relay that uses no relay itself owes nobody anything, and would have no credit to give on. So each relay that it has
probed for a week is owed one free tier, one relay of each network; it is used up as any other credit is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from towpath import addresses
from towpath.errors import AddressError
from towpath.settings.values import Size
from towpath.signed import PEER_ID_PREFIX, key_of

__all__ = ["LEAST_DAYS", "MAX_EDGES", "Probed", "given_edges", "read_trust", "trusted"]

LEAST_DAYS: Final = 7.0
MAX_EDGES: Final = 1000
_SIZE: Final = Size(1, unlimited=False)


class Probed(NamedTuple):
    """A relay that we probe."""

    relay: bytes
    account: bytes | None
    """As its advertisement says, which it signed."""
    days: float
    """Since when it has been probed, and answered for the most part."""
    network: str
    """Its /16, or /32 of IPv6."""


def given_edges(probed: Iterable[Probed], tier: int | None, trust: Sequence[str]) -> dict[bytes, int]:
    """The accounts that we owe without a receipt, with the bytes: those of `credits.trust`, then those probed.

    `tier` is the free tier; None: it is unlimited, and nobody needs credit.
    """
    edges = dict(trusted(trust))
    networks: set[str] = set()
    for one in sorted(probed, key=lambda one: (-one.days, one.relay)):
        if tier is None or one.account is None or one.days < LEAST_DAYS or one.network in networks:
            continue
        networks.add(one.network)
        edges.setdefault(one.account, tier)
    return dict(list(edges.items())[:MAX_EDGES])


def read_trust(text: object) -> str:
    """An entry of `credits.trust`, `ACCOUNT=SIZE`, in its usual form; ValueError when it is none."""
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not ACCOUNT=SIZE")
    account, size = _parts(text)
    return f"{addresses.peer_id_to_text(PEER_ID_PREFIX + account)}={_SIZE.write(size)}"


def trusted(entries: Sequence[str]) -> dict[bytes, int]:
    """Accounts and bytes of entries that `read_trust` gave; of two for one account the later counts."""
    return dict(_parts(entry) for entry in entries)


def _parts(text: str) -> tuple[bytes, int]:
    name, separator, size = text.strip().partition("=")
    if not separator:
        raise ValueError(f"{text!r} has no size; an entry is ACCOUNT=SIZE, as 12D3KooW…=10GiB")
    try:
        account = key_of(addresses.peer_id_to_bytes(name.strip()))
    except AddressError as error:
        raise ValueError(f"{name!r} is no account: {error}") from error
    if account is None:
        raise ValueError(f"{name!r} is no account, which is an Ed25519 key such as 12D3KooW…")
    try:
        return account, int(_SIZE.read(size))
    except ValueError as error:
        raise ValueError(f"{size!r} is no size: {error}") from error
