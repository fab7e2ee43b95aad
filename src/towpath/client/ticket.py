"""Tickets: the text that lets somebody reach a shared service, and the secret behind it. Pure.

`tp1` and base58 of: canonical CBOR of {v, peer, relays, secret, expires}, then 4 bytes of SHA-256 as a
checksum against typing errors. Whoever has the text may connect, so it is as secret as what it opens.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, NamedTuple

from towpath import addresses, cbor
from towpath.errors import AddressError, TicketError

__all__ = ["SECRET_SIZE", "Ticket", "new_secret"]

SECRET_SIZE: Final = 16
MAX_RELAYS: Final = 8
MAX_TEXT: Final = 2048
_PREFIX: Final = "tp1"
_VERSION: Final = 1
_CHECKSUM: Final = 4
_COPY_ALL: Final = "copy all of what `share` printed"
_FIELDS: Final = {"v", "peer", "relays", "secret", "expires"}


def new_secret() -> bytes:
    """A fresh secret from the system's random source."""
    return secrets.token_bytes(SECRET_SIZE)


class Ticket(NamedTuple):
    """Who shares, where to meet them, and what they ask for first. `expires_at` is in Unix seconds."""

    peer_id: str
    relays: tuple[str, ...]
    """Multiaddrs that end in /p2p/RELAY_ID, best first."""
    secret: bytes
    expires_at: int | None = None

    def encode(self) -> str:
        """The text."""
        if len(self.secret) != SECRET_SIZE or len(self.relays) > MAX_RELAYS:
            raise TicketError(f"a ticket holds {SECRET_SIZE} bytes of secret and at most {MAX_RELAYS} relays")
        body = cbor.encode(
            {
                "v": _VERSION,
                "peer": addresses.peer_id_to_bytes(self.peer_id),
                "relays": [addresses.to_bytes(relay) for relay in self.relays],
                "secret": self.secret,
                "expires": self.expires_at,
            }
        )
        text = _PREFIX + addresses.base58_encode(body + _checksum(body))
        if len(text) > MAX_TEXT:
            raise TicketError("the addresses of the relays are too long for a ticket; name fewer relays")
        return text

    @classmethod
    def decode(cls, text: str) -> Ticket:
        """The ticket in a text; TicketError when it is damaged. Does not look at the clock: see `expired`."""
        text = text.strip()
        if not text.startswith(_PREFIX):
            raise TicketError(f"this is no ticket: one begins with {_PREFIX!r}; {_COPY_ALL}")
        if len(text) > MAX_TEXT:
            raise TicketError(f"this is no ticket: it has more than {MAX_TEXT} characters")
        try:
            raw = addresses.base58_decode(text[len(_PREFIX) :])
        except AddressError as e:
            raise TicketError(f"the ticket is damaged; {_COPY_ALL}") from e
        body, checksum = raw[:-_CHECKSUM], raw[-_CHECKSUM:]
        if not body or checksum != _checksum(body):
            raise TicketError(f"the ticket is damaged or not whole; {_COPY_ALL}")
        try:
            return cls._from_fields(cbor.decode(body))
        except (ValueError, AddressError) as e:
            raise TicketError(f"the ticket cannot be read: {e}") from e

    @classmethod
    def _from_fields(cls, fields: cbor.Value) -> Ticket:
        if not isinstance(fields, dict) or "v" not in fields:
            raise ValueError("it holds no fields")
        if isinstance(fields["v"], bool) or fields["v"] != _VERSION:
            raise ValueError(f"it has version {fields['v']!r}; this towpath reads version {_VERSION}")
        if set(fields) != _FIELDS:
            raise ValueError("fields are missing or unknown")
        peer, relays, secret, expires = (fields[name] for name in ("peer", "relays", "secret", "expires"))
        if not isinstance(peer, bytes) or not isinstance(secret, bytes) or len(secret) != SECRET_SIZE:
            raise ValueError("a field has the wrong type or length")
        if not isinstance(relays, list) or len(relays) > MAX_RELAYS:
            raise ValueError("a field has the wrong type or length")
        if expires is not None and (isinstance(expires, bool) or not isinstance(expires, int) or expires < 0):
            raise ValueError("a field has the wrong type or length")
        hints = []
        for relay in relays:
            if not isinstance(relay, bytes):
                raise ValueError("a field has the wrong type or length")
            address = addresses.parse(addresses.to_text(relay))
            if address.peer_id is None or address.circuit:
                raise ValueError("a relay in it has no peer id")
            hints.append(str(address))
        return cls(addresses.peer_id_to_text(peer), tuple(hints), secret, expires)

    def expired(self, now: float) -> bool:
        """Is it past its time? `now` in Unix seconds."""
        return self.expires_at is not None and now >= self.expires_at


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"towpath:ticket:" + body).digest()[:_CHECKSUM]
