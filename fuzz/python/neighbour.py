"""What the local network and the DNS tell of peers: what is taken of it is bounded, and may be dialed."""

from __future__ import annotations

import ipaddress

from towpath.addresses import parse, peer_id_to_text
from towpath.discovery import dnsaddr
from towpath.discovery.candidates import MAX_ADDRESSES
from towpath.discovery.mdns import found_in, strings

__all__ = ["check", "seeds"]

_ID = peer_id_to_text(b"\x00\x24\x08\x01\x12\x20" + bytes(range(32)))


def seeds() -> list[bytes]:
    """TXT records, as they travel: strings behind their lengths."""
    told = (
        f"dnsaddr=/ip4/192.168.1.5/tcp/4001/p2p/{_ID}",
        f"dnsaddr=/ip6/fd00::5/tcp/4001/p2p/{_ID}",
        f"dnsaddr=/ip4/192.168.1.5/udp/4001/quic-v1/p2p/{_ID}",
        f"dnsaddr=/dnsaddr/boot.example/p2p/{_ID}",
        f"dnsaddr=/dns4/relay.local/tcp/4001/p2p/{_ID}",
        "txtvers=1",
    )
    records = [bytes([len(text)]) + text.encode() for text in told]
    return [*records, b"".join(records[:2]), b"\x00"]


def check(data: bytes) -> None:
    """AssertionError when something was taken that must not be; any other exception is a fault of the reader, too."""
    texts = strings(data)
    _must(sum(len(text) + 1 for text in texts) <= len(data), "strings were made up")
    addresses = dnsaddr.read(texts)
    _must(len(addresses) <= dnsaddr.MAX_TEXTS, "there are too many addresses")
    _must(all(f"dnsaddr={text}".encode() in texts for text in addresses), "an address was not said")
    for found in found_in(texts):
        _must(not found.relays, "a stranger was believed to relay")
        _must(1 <= len(found.addresses) <= MAX_ADDRESSES, "a peer has too many addresses, or none")
        for text in found.addresses:
            address = parse(text)
            _must(address.peer_id == found.relay_id, "an address is somebody else's")
            _must(address.port > 0 and not address.circuit, "it leads nowhere")
            _must(not ipaddress.ip_address(address.host).is_multicast, "it leads to many")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
