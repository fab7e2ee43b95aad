"""Binary multiaddrs as far as a TCP relay uses them."""

import ipaddress

from tests.peerlab.keys import base58, from_base58
from tests.peerlab.protobuf import read_varint, varint

_IP4, _TCP, _IP6, _P2P, _CIRCUIT = 4, 6, 41, 421, 290
_NAMES = {"ip4": _IP4, "tcp": _TCP, "ip6": _IP6, "p2p": _P2P, "p2p-circuit": _CIRCUIT}


def to_bytes(text: str) -> bytes:
    """Encodes /ip4, /ip6, /tcp, /p2p and /p2p-circuit."""
    parts, out = iter(text.strip("/").split("/")), b""
    for name in parts:
        code = _NAMES[name]
        out += varint(code)
        if code in (_IP4, _IP6):
            out += ipaddress.ip_address(next(parts)).packed
        elif code == _TCP:
            out += int(next(parts)).to_bytes(2)
        elif code == _P2P:
            peer_id = from_base58(next(parts))
            out += varint(len(peer_id)) + peer_id
    return out


def to_text(data: bytes) -> str:
    """The inverse; ValueError for a protocol it does not know."""
    at, out = 0, ""
    while at < len(data):
        code, at = read_varint(data, at)
        if code in (_IP4, _IP6):
            size = 4 if code == _IP4 else 16
            out += f"/ip{4 if code == _IP4 else 6}/{ipaddress.ip_address(data[at : at + size])}"
            at += size
        elif code == _TCP:
            out += f"/tcp/{int.from_bytes(data[at : at + 2])}"
            at += 2
        elif code == _P2P:
            size, at = read_varint(data, at)
            out += f"/p2p/{base58(data[at : at + size])}"
            at += size
        elif code == _CIRCUIT:
            out += "/p2p-circuit"
        else:
            raise ValueError(f"protocol {code} in {data.hex()}")
    return out


def socket_address(text: str) -> tuple[tuple[str, int], str | None]:
    """Host, port and peer id (as text) of /ip4|ip6/…/tcp/…[/p2p/…]."""
    _, _, host, tcp, port, *rest = text.split("/")
    if tcp != "tcp":
        raise ValueError(f"not a TCP address: {text}")
    return (host, int(port)), rest[1] if rest else None
