"""Multiaddrs and peer ids: text to bytes and back, and the parts of an address that towpath can use.

Pure functions, no I/O, quick to import; anyone may call them. All raise AddressError saying what is wrong.
Everything decoded here may come from a peer, so lengths are bounded before anything is built from them.
"""

from __future__ import annotations

import base64
import binascii
import functools
import socket
from typing import Final, NamedTuple

from towpath.errors import AddressError

__all__ = [
    "Address",
    "base58_decode",
    "base58_encode",
    "dnsaddr",
    "parse",
    "peer_id_to_bytes",
    "peer_id_to_text",
    "to_bytes",
    "to_text",
]

MAX_BYTES: Final = 512
MAX_TEXT: Final = 2048

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUE: Final = {c: i for i, c in enumerate(_BASE58)}
_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Address(NamedTuple):
    """Where a peer is: a TCP endpoint, who must answer there, and whom that one shall relay to."""

    host: str
    port: int
    family: str  # "ip4", "ip6", "dns4", "dns6" or "dns"
    peer_id: bytes | None
    circuit: bool
    target_id: bytes | None

    @property
    def transport(self) -> str:
        """The part before any /p2p, as text: `/ip4/127.0.0.1/tcp/4001`."""
        return f"/{self.family}/{self.host}/tcp/{self.port}"

    @property
    def relay(self) -> str:
        """The part before any /p2p-circuit, as text: `/ip4/127.0.0.1/tcp/4001/p2p/ID`."""
        return self.transport + (f"/p2p/{peer_id_to_text(self.peer_id)}" if self.peer_id else "")

    def __str__(self) -> str:
        text = self.relay
        if self.circuit:
            text += "/p2p-circuit"
        if self.target_id:
            text += f"/p2p/{peer_id_to_text(self.target_id)}"
        return text


# code, name, kind of value; the kinds are the keys of _ENCODE and _DECODE, "" has no value
_PROTOCOLS: Final = (
    (4, "ip4", "ip4"),
    (6, "tcp", "port"),
    (41, "ip6", "ip6"),
    (42, "ip6zone", "name"),
    (53, "dns", "name"),
    (54, "dns4", "name"),
    (55, "dns6", "name"),
    (56, "dnsaddr", "name"),
    (273, "udp", "port"),
    (280, "webrtc-direct", ""),
    (281, "webrtc", ""),
    (290, "p2p-circuit", ""),
    (421, "p2p", "peer"),
    (443, "https", ""),
    (448, "tls", ""),
    (449, "sni", "name"),
    (454, "noise", ""),
    (460, "quic", ""),
    (461, "quic-v1", ""),
    (465, "webtransport", ""),
    (466, "certhash", "multibase"),
    (477, "ws", ""),
    (478, "wss", ""),
    (480, "http", ""),
)
_BY_NAME: Final = {name: (code, name, kind) for code, name, kind in _PROTOCOLS} | {"ipfs": (421, "p2p", "peer")}
_BY_CODE: Final = {code: (code, name, kind) for code, name, kind in _PROTOCOLS}


@functools.lru_cache(maxsize=8192)
def peer_id_to_text(data: bytes) -> str:
    """Base58 text of a peer id's bytes, as every libp2p program prints it."""
    _check_peer_id(data)
    return base58_encode(data)


def peer_id_to_bytes(text: str) -> bytes:
    """Bytes of a peer id given as base58btc (12D3Koo…, Qm…) or as a CIDv1 (bafz…, k51…)."""
    if not text or len(text) > 128:
        raise AddressError(f"a peer id has 46 to 62 characters, not {len(text)}")
    raw = _cid_to_bytes(text) if text[0] in "bk" else base58_decode(text)
    _check_peer_id(raw, text)
    return raw


def to_bytes(text: str) -> bytes:
    """The binary form of a multiaddr's text."""
    return b"".join(_varint(code) + _encode(name, kind, value) for code, name, kind, value in _split(text))


def to_text(data: bytes) -> str:
    """The text of a binary multiaddr."""
    if len(data) > MAX_BYTES:
        raise AddressError(f"a multiaddr of {len(data)} bytes is too long; at most {MAX_BYTES} are allowed")
    if not data:
        raise AddressError("an empty multiaddr names nothing")
    parts = []
    at = 0
    while at < len(data):
        code, at = _read_varint(data, at)
        if code not in _BY_CODE:
            raise AddressError(f"unknown multiaddr protocol number {code}")
        _, name, kind = _BY_CODE[code]
        parts.append(name)
        if kind:
            size = {"ip4": 4, "ip6": 16, "port": 2}.get(kind)
            if size is None:
                size, at = _read_varint(data, at)
            if at + size > len(data):
                raise AddressError(f"the multiaddr ends inside its /{name}")
            parts.append(_decode(name, kind, data[at : at + size]))
            at += size
    return "/" + "/".join(parts)


def parse(text: str) -> Address:
    """Endpoint, peer id and relay target of an address that towpath can use: TCP on an IP address or DNS name."""
    parts = [(name, value) for _, name, _, value in _split(text)]
    if parts[0][0] not in ("ip4", "ip6", "dns4", "dns6", "dns"):
        raise AddressError(f"{text!r} must begin with /ip4, /ip6, /dns, /dns4 or /dns6")
    if len(parts) < 2 or parts[1][0] != "tcp":
        raise AddressError(f"{text!r} is not a TCP address; towpath speaks /tcp/PORT only")
    family, host = parts[0]
    if family in ("ip4", "ip6"):
        host = _decode(family, family, _encode(family, family, host))
    peer_id = target_id = None
    circuit = False
    for name, value in parts[2:]:
        if name == "p2p" and not circuit and peer_id is None:
            peer_id = peer_id_to_bytes(value)
        elif name == "p2p-circuit" and not circuit:
            circuit = True
        elif name == "p2p" and circuit and target_id is None:
            target_id = peer_id_to_bytes(value)
        elif name in ("p2p", "p2p-circuit"):
            raise AddressError(f"{text!r} holds a second /{name}; towpath goes through one relay")
        else:
            raise AddressError(f"{text!r} needs /{name}, which towpath does not speak; use a plain /tcp address")
    return Address(host, int(parts[1][1]), family, peer_id, circuit, target_id)


def host_of(data: bytes) -> str:
    """The host in a binary multiaddr; empty when there is none."""
    try:
        return parse(to_text(data)).host
    except AddressError:
        return ""


def dnsaddr(text: str) -> tuple[str, bytes | None] | None:
    """Name and peer id of `/dnsaddr/NAME` or `/dnsaddr/NAME/p2p/ID`, which stand for addresses that the DNS tells.

    None for a multiaddr of another kind.
    """
    parts = _split(text)
    if parts[0][1] != "dnsaddr":
        return None
    rest = [(name, value) for _, name, _, value in parts[1:]]
    if not rest:
        return parts[0][3], None
    if len(rest) == 1 and rest[0][0] == "p2p":
        return parts[0][3], peer_id_to_bytes(rest[0][1])
    raise AddressError(f"{text!r} must end after /dnsaddr/NAME, or after /p2p/ID behind it")


def _split(text: str) -> list[tuple[int, str, str, str]]:
    if len(text) > MAX_TEXT:
        raise AddressError(f"a multiaddr of {len(text)} characters is too long; at most {MAX_TEXT} are allowed")
    if not text.startswith("/"):
        raise AddressError(f"{text!r} is not a multiaddr: it must begin with '/', as in /ip4/127.0.0.1/tcp/4001")
    words = text.rstrip("/").split("/")[1:]
    if not words:
        raise AddressError("an empty multiaddr names nothing; write one like /ip4/127.0.0.1/tcp/4001")
    out = []
    at = 0
    while at < len(words):
        word = words[at]
        if word not in _BY_NAME:
            raise AddressError(f"{text!r} holds the unknown protocol {word!r}")
        code, name, kind = _BY_NAME[word]
        value = ""
        at += 1
        if kind:
            if at >= len(words):
                raise AddressError(f"{text!r} ends after /{name}, which needs a value")
            value = words[at]
            at += 1
            _encode(name, kind, value)
        out.append((code, name, kind, value))
    return out


def _encode(name: str, kind: str, value: str) -> bytes:
    if kind == "":
        return b""
    if kind in ("ip4", "ip6"):
        try:
            return socket.inet_pton(socket.AF_INET if kind == "ip4" else socket.AF_INET6, value)
        except (OSError, ValueError) as e:
            raise AddressError(f"{value!r} is not an address for /{name}") from e
    if kind == "port":
        if not (value.isascii() and value.isdigit() and len(value) <= 5 and int(value) <= 65535):
            raise AddressError(f"{value!r} is not a port for /{name}: 0 to 65535")
        return int(value).to_bytes(2, "big")
    if kind == "peer":
        raw = peer_id_to_bytes(value)
    elif kind == "multibase":
        raw = _multibase_url_decode(value)
    else:
        raw = value.encode()
        _check_name(name, raw)
    return _varint(len(raw)) + raw


def _decode(name: str, kind: str, raw: bytes) -> str:
    if kind in ("ip4", "ip6"):
        return socket.inet_ntop(socket.AF_INET if kind == "ip4" else socket.AF_INET6, raw)
    if kind == "port":
        return str(int.from_bytes(raw, "big"))
    if kind == "peer":
        return peer_id_to_text(raw)
    if kind == "multibase":
        if not raw:
            raise AddressError("an empty /certhash names nothing")
        return "u" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    _check_name(name, raw)
    return raw.decode()


def _check_name(name: str, raw: bytes) -> None:
    printable = all(0x21 <= b <= 0x7E and b != 0x2F for b in raw)
    if not 1 <= len(raw) <= 253 or not printable:
        raise AddressError(f"{raw[:64]!r} is not a name for /{name}: 1 to 253 printable characters without '/'")


def _check_peer_id(raw: bytes, text: str | None = None) -> None:
    """Accepts the specification's two forms: an inlined public key of up to 42 bytes, or a SHA-256 of one."""
    inlined = len(raw) >= 2 and raw[0] == 0x00 and 1 <= raw[1] <= 42 and len(raw) == raw[1] + 2
    hashed = len(raw) == 34 and raw[0] == 0x12 and raw[1] == 0x20
    if not inlined and not hashed:
        shown = repr(text) if text is not None else f"{len(raw)} bytes"
        looks = text is not None and text.startswith("12D3KooW")
        hint = "a character is missing or wrong" if looks else "one looks like 12D3KooW…"
        raise AddressError(f"{shown} is not a peer id; {hint}")


def base58_encode(data: bytes) -> str:
    """Base58 text, without a checksum."""
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(digits))


def base58_decode(text: str) -> bytes:
    """Bytes of base58 text. Takes quadratic time: the caller bounds the length."""
    number = 0
    for c in text:
        digit = _BASE58_VALUE.get(c)
        if digit is None:
            raise AddressError(f"{text!r} cannot be read: {c!r} is no base58 character")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _cid_to_bytes(text: str) -> bytes:
    """The multihash inside a CIDv1 of a libp2p key (codec 0x72), in base32 ('b') or base36 ('k')."""
    try:
        if text[0] == "b":
            body = text[1:].upper()
            raw = base64.b32decode(body + "=" * (-len(body) % 8))
        else:
            number = 0
            for c in text[1:]:
                number = number * 36 + _BASE36.index(c)
            raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    except (binascii.Error, ValueError) as e:
        raise AddressError(f"{text!r} is not a peer id: its encoding is damaged") from e
    if raw[:2] != b"\x01\x72":
        raise AddressError(f"{text!r} is a CID, but not of a libp2p key")
    return raw[2:]


def _multibase_url_decode(text: str) -> bytes:
    if not text.startswith("u"):
        raise AddressError(f"{text[:64]!r} is not base64url multibase; it must begin with 'u'")
    body = text[1:]
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as e:
        raise AddressError(f"{text[:64]!r} is not base64url multibase") from e
    if not raw:
        raise AddressError("an empty /certhash names nothing")
    return raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise AddressError("a number in the multiaddr is longer than it need be")
            return value, at
    raise AddressError("a number in the multiaddr is cut off or too long")
