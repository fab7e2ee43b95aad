"""NAT-PMP (RFC 6886) and PCP's MAP (RFC 6887): requests, and what a router's answers say. Pure; answers are hostile
until checked.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final, NamedTuple

__all__ = [
    "PORT",
    "UNSUPPORTED_VERSION",
    "BadAnswer",
    "Granted",
    "natpmp_address_request",
    "natpmp_map_request",
    "pcp_map_request",
    "read_natpmp_address",
    "read_natpmp_map",
    "read_pcp_map",
]

PORT: Final = 5351
UNSUPPORTED_VERSION: Final = 1
"""The result of a router that speaks the other of the two."""
_TCP: Final = 6
_MAP_TCP: Final = 2
_ANSWER: Final = 128
_V4: Final = bytes(10) + b"\xff\xff"
_NATPMP_RESULTS: Final = {
    1: "it speaks another version",
    2: "its owner forbids mappings",
    3: "it has no Internet address itself",
    4: "it has no room for more",
    5: "it does not know what was asked",
}
_PCP_RESULTS: Final = {
    1: "it speaks another version",
    2: "its owner forbids mappings",
    3: "it did not understand",
    4: "it does not map ports",
    5: "it does not know an option",
    6: "it did not understand an option",
    7: "it has no Internet address itself",
    8: "it has no room for more",
    9: "it does not map TCP",
    10: "it allows this machine no more",
    11: "it cannot give that address",
    12: "there is another router between",
    13: "it allows fewer peers",
}


class BadAnswer(Exception):
    """The answer is no answer to the question, or a refusal: then `result` is its code, else None."""

    def __init__(self, sentence: str, result: int | None = None) -> None:
        super().__init__(sentence)
        self.result = result


class Granted(NamedTuple):
    """A mapping that a router gave."""

    external_port: int
    lifetime: int
    """Seconds."""
    external_ip: ipaddress.IPv4Address | None
    """NAT-PMP tells it in another answer."""


def natpmp_address_request() -> bytes:
    """What is your address outside?"""
    return b"\0\0"


def natpmp_map_request(internal: int, external: int, lifetime: int) -> bytes:
    """Map a TCP port for so many seconds; 0 takes the mapping away (then `external` is 0)."""
    return struct.pack("!BBHHHI", 0, _MAP_TCP, 0, internal, external, lifetime)


def _natpmp_header(data: bytes, operation: int, size: int) -> None:
    if len(data) >= 4 and data[1] & _ANSWER:
        result = int.from_bytes(data[2:4])
        if data[0] == 2:
            # A PCP server's refusal, in its own form.
            raise BadAnswer("the router speaks another version", UNSUPPORTED_VERSION)
        if data[0] == 0 and result:
            raise BadAnswer(f"the router refused: {_NATPMP_RESULTS.get(result, f'result {result}')}", result)
    if len(data) < size or data[0] != 0 or data[1] != _ANSWER + operation:
        raise BadAnswer("the router's answer is no answer to the question")


def read_natpmp_address(data: bytes) -> ipaddress.IPv4Address:
    """The router's address outside; BadAnswer."""
    _natpmp_header(data, 0, 12)
    return ipaddress.IPv4Address(data[8:12])


def read_natpmp_map(data: bytes, internal: int) -> Granted:
    """The answer to a request for this internal port; BadAnswer."""
    _natpmp_header(data, _MAP_TCP, 16)
    port, external, lifetime = struct.unpack("!HHI", data[8:16])
    if port != internal:
        raise BadAnswer("the router's answer is for another port")
    return Granted(external, lifetime, None)


def pcp_map_request(client: ipaddress.IPv4Address, nonce: bytes, internal: int, external: int, lifetime: int) -> bytes:
    """Map a TCP port of `client` for so many seconds; 0 takes the mapping with this nonce (12 bytes) away."""
    header = struct.pack("!BBHI", 2, 1, 0, lifetime) + _V4 + client.packed
    suggested = _V4 + bytes(4)
    return header + nonce + struct.pack("!B3xHH", _TCP, internal, external) + suggested


def read_pcp_map(data: bytes, nonce: bytes, internal: int) -> Granted:
    """The answer to a MAP request with this nonce; BadAnswer."""
    if len(data) >= 4 and data[0] == 0 and data[1] & _ANSWER:
        # A NAT-PMP server's refusal, in its own form.
        raise BadAnswer("the router speaks another version", UNSUPPORTED_VERSION)
    if len(data) < 24 or len(data) > 1100 or data[0] != 2 or data[1] != _ANSWER + 1:
        raise BadAnswer("the router's answer is no answer to the question")
    result, lifetime = data[3], int.from_bytes(data[4:8])
    if result:
        raise BadAnswer(f"the router refused: {_PCP_RESULTS.get(result, f'result {result}')}", result)
    if len(data) < 60 or data[24:36] != nonce or data[36] != _TCP or int.from_bytes(data[40:42]) != internal:
        raise BadAnswer("the router's answer is for another mapping")
    if data[44:56] != _V4:
        raise BadAnswer("the router gave an address that is not IPv4")
    return Granted(int.from_bytes(data[42:44]), lifetime, ipaddress.IPv4Address(data[56:60]))
