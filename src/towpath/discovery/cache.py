"""The relays that a node keeps on disk: addresses, the last signed advertisement, own measurements.

All are one value of the store.

Whoever can write the file can make us try relays, and nothing worse: ids are proven when they are dialed, and an
advertisement's signature is checked again.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from towpath.addresses import peer_id_to_bytes, peer_id_to_text
from towpath.discovery.candidates import Measured, usable_addresses
from towpath.discovery.records import Advertisement, RecordError, read_advertisement
from towpath.errors import AddressError
from towpath.log import get_logger

if TYPE_CHECKING:
    from towpath.store import Store

__all__ = ["MOST", "Kept", "load", "save"]

KEY: Final = "relays"
MOST: Final = 256
_OLD_S: Final = 60 * 86400.0
_log = get_logger("discovery")


class Kept(NamedTuple):
    """One relay. `advertisement` is None when it has none that is still valid."""

    relay_id: bytes
    addresses: tuple[str, ...]
    raw: bytes | None
    own: Measured
    seen_at: float
    advertisement: Advertisement | None = None


class _Row(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    at: list[str]
    seen_at: float
    own: Measured = Measured()
    ad: str | None = None


def save(store: Store, relays: Iterable[Kept]) -> None:
    """Keeps the MOST relays that we know best, then those seen last."""
    best = sorted(relays, key=lambda kept: (kept.own.tries > 0, kept.own.health >= 0.5, kept.seen_at), reverse=True)
    rows = [
        _Row(
            peer_id_to_text(kept.relay_id),
            list(kept.addresses),
            kept.seen_at,
            kept.own,
            None if kept.raw is None else base64.b64encode(kept.raw).decode(),
        )
        for kept in best[:MOST]
    ]
    store.put(KEY, msgspec.to_builtins(rows))


def load(store: Store | None, now: float) -> list[Kept]:
    """What was kept, without what is too old to be true; a row that cannot be read is left out."""
    rows: Any = None if store is None else store.get(KEY)
    found = []
    for item in rows[:MOST] if isinstance(rows, list) else []:
        try:
            row = msgspec.convert(item, _Row)
            relay_id = peer_id_to_bytes(row.id)
        except (msgspec.ValidationError, AddressError) as error:
            _log.warning("cached_relay_unreadable", error=str(error))
            continue
        addresses = usable_addresses(relay_id, row.at)
        if addresses and now - row.seen_at < _OLD_S:
            raw, advertisement = _advertisement(row.ad, now)
            found.append(Kept(relay_id, addresses, raw, row.own, row.seen_at, advertisement))
    return found


def _advertisement(text: str | None, now: float) -> tuple[bytes | None, Advertisement | None]:
    if text is None:
        return None, None
    try:
        raw = base64.b64decode(text, validate=True)
        return raw, read_advertisement(raw, now)
    except (ValueError, RecordError):
        # Past its time, as a rule.
        return None, None
