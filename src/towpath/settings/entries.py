"""Lists as the values of settings, and what can stand in one: addresses, prefixes, peers, accounts.

Pure; used by the schema and by the command line. Each function puts one entry into its usual form, or raises
ValueError, TypeError or AddressError with what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from towpath import addresses
from towpath.errors import AddressError
from towpath.settings.values import Size, TomlValue, format_size
from towpath.signed import PEER_ID_PREFIX, key_of

__all__ = [
    "ItemList",
    "account_size",
    "bootstrap_multiaddr",
    "multiaddr",
    "peer_multiaddr",
    "peer_or_prefix",
    "prefix",
    "read_account_size",
]


class ItemList:
    """A list of texts, each of which `item` checks and puts into its usual form. Read as a tuple.

    Given as a TOML array, or as one text with commas between.
    """

    def __init__(self, item: Any, what: str) -> None:
        self.item: Final = item
        self.allowed: Final = f"a list of {what}"

    def read(self, value: object) -> tuple[str, ...]:
        """See Kind."""
        if isinstance(value, str):
            text = value.strip()
            if text.startswith("[") and text.endswith("]"):
                text = text[1:-1]
            value = [part.strip().strip("\"'") for part in text.split(",") if part.strip()]
        if not isinstance(value, Sequence) or isinstance(value, bytes):
            raise ValueError(f"allowed is {self.allowed}")
        if len(value) > 1024:
            raise ValueError(f"allowed is {self.allowed} of at most 1024 entries")
        out: list[str] = []
        for part in value:
            try:
                one: str = self.item(part)
            except (AddressError, ValueError, TypeError) as e:
                raise ValueError(f"allowed is {self.allowed}; {e}") from e
            if one not in out:
                out.append(one)
        return tuple(out)

    def write(self, value: tuple[str, ...]) -> TomlValue:
        """See Kind."""
        return list(value)


def multiaddr(text: object) -> str:
    """An address to listen on or announce: TCP, without a peer id."""
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not a multiaddr")
    address = addresses.parse(text)
    if address.peer_id or address.circuit:
        raise AddressError(f"{text!r} must end after /tcp/PORT")
    return str(address)


def peer_multiaddr(text: object) -> str:
    """An address of somebody: TCP, ending in /p2p/ID."""
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not a multiaddr")
    address = addresses.parse(text)
    if address.peer_id is None or address.circuit:
        raise AddressError(f"{text!r} must end in /p2p/ID, so that nobody else can answer there")
    return str(address)


def bootstrap_multiaddr(text: object) -> str:
    """An address of somebody, or a name that the DNS tells such addresses of: `/dnsaddr/NAME`, with /p2p/ID or without.

    Without an id whoever rules the name says who is there.
    """
    parts = addresses.dnsaddr(text) if isinstance(text, str) else None
    if parts is None:
        return peer_multiaddr(text)
    name, peer_id = parts
    return f"/dnsaddr/{name}" + ("" if peer_id is None else f"/p2p/{addresses.peer_id_to_text(peer_id)}")


def prefix(text: object) -> str:
    """An IP prefix, such as 192.0.2.0/24 or 2001:db8::/32; a bare address stands for itself."""
    import ipaddress

    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not an IP prefix")
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError as e:
        raise ValueError(f"{text!r} is not an IP prefix: {e}") from e


def peer_or_prefix(text: object) -> str:
    """A peer id, or an IP prefix."""
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is neither a peer id nor an IP prefix")
    word = text.strip()
    if "/" in word or ":" in word or "." in word:
        return prefix(word)
    return addresses.peer_id_to_text(addresses.peer_id_to_bytes(word))


def account_size(text: object) -> str:
    """An account and a size, `ACCOUNT=SIZE`."""
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not ACCOUNT=SIZE")
    account, size = read_account_size(text)
    return f"{addresses.peer_id_to_text(PEER_ID_PREFIX + account)}={format_size(size)}"


def read_account_size(text: str) -> tuple[bytes, int]:
    """The public key and the bytes of `ACCOUNT=SIZE`; ValueError otherwise."""
    name, _, size = text.strip().partition("=")
    account = key_of(addresses.peer_id_to_bytes(name.strip()))
    if account is None:
        raise ValueError(f"{name!r} is not an account, which begins with 12D3KooW")
    return account, int(Size(1, unlimited=False).read(size))
