"""`dnsaddr=` texts, as DNS and mDNS carry addresses of peers, and names that stand for several (`/dnsaddr/NAME`).

Source: libp2p specs, addressing and discovery/mdns.md. What a name server or a neighbour says is bounded and checked
here, whatever it leads to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable
from typing import Final

from towpath.addresses import Address, parse, to_bytes
from towpath.addresses import dnsaddr as name_of
from towpath.client.dialing import resolve as resolve_host
from towpath.errors import AddressError, DialError, TowpathError

__all__ = ["MAX_TEXT", "Lookup", "look_up", "read", "resolve"]

MAX_TEXT: Final = 1024
MAX_TEXTS: Final = 64
_PREFIX: Final = b"dnsaddr="
_DEPTH: Final = 4
_QUERIES: Final = 16
_MOST: Final = 32
_QUERY_S: Final = 5.0

Lookup = Callable[[str], Awaitable[list[bytes]]]
"""The texts of a name's TXT records; OSError or TowpathError when it has none or they cannot be had."""


def read(texts: Iterable[bytes]) -> list[str]:
    """The multiaddrs among some TXT strings, without repetition; whatever is none is passed over."""
    found: list[str] = []
    for number, text in enumerate(texts):
        if number >= MAX_TEXTS:
            break
        if not text.startswith(_PREFIX) or len(text) > MAX_TEXT:
            continue
        try:
            address = text[len(_PREFIX) :].decode("ascii")
            to_bytes(address)
        except (UnicodeDecodeError, AddressError):
            continue
        if address not in found:
            found.append(address)
    return found


async def resolve(text: str, public: Container[str], look: Lookup) -> list[Address]:
    """The TCP addresses that `/dnsaddr/NAME[/p2p/ID]` stands for, each with its peer's id, IP addresses all of them.

    Only `public` ones: a name must not lead into somebody's own network. With an id only that peer's. AddressError
    when there is none; at most 16 names are asked.
    """
    found: dict[str, Address] = {}
    waiting = [text]
    asked: set[str] = set()
    failure: Exception | None = None
    wanted = name_of(text)
    if wanted is None:
        raise AddressError(f"{text!r} is not a /dnsaddr address")
    for _ in range(_DEPTH):
        names = []
        for item in waiting:
            pair = name_of(item)
            if pair is not None and pair[0].lower() not in asked and len(asked) < _QUERIES:
                asked.add(pair[0].lower())
                names.append(pair[0])
        waiting = []
        answers = await asyncio.gather(*(look(f"_dnsaddr.{name}") for name in names), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, (TowpathError, OSError)):
                failure = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                for address in read(answer):
                    if not await _take(address, wanted[1], public, found):
                        waiting.append(address)
        if not waiting or len(found) >= _MOST:
            break
    if not found:
        why = "nothing public that towpath can use is behind it" if failure is None else str(failure)
        raise AddressError(f"{text} cannot be resolved: {why}; check the name and the network") from failure
    return list(found.values())[:_MOST]


async def _take(text: str, wanted: bytes | None, public: Container[str], found: dict[str, Address]) -> bool:
    # False: it is a name to ask further.
    try:
        pair = name_of(text)
        if pair is not None:
            return not (wanted is None or pair[1] in (None, wanted))
        address = parse(text)
        if address.peer_id is None or address.circuit or wanted not in (None, address.peer_id):
            return True
        places = await resolve_host(address)
    except AddressError:
        return True
    for host, port in places:
        if host in public and len(found) < _MOST:
            place = Address(host, port, "ip6" if ":" in host else "ip4", address.peer_id, False, None)
            found[str(place)] = place
    return True


async def look_up(name: str) -> list[bytes]:
    """Asks the system's name servers for the TXT records of a name. DialError when there are none."""
    # Loaded by who needs it: most nodes are given addresses.
    import aiodns

    async with aiodns.DNSResolver(timeout=_QUERY_S, tries=2) as resolver:
        try:
            async with asyncio.timeout(_QUERY_S):
                result = await resolver.query_dns(name, "TXT")
        except TimeoutError as error:
            raise DialError(f"the name servers did not answer for {name} within {_QUERY_S:g} s") from error
        except aiodns.error.DNSError as error:
            told = error.args[1] if len(error.args) > 1 else error
            raise DialError(f"the name servers have nothing for {name} ({told})") from error
    return [bytes(record.data.data) for record in result.answer if hasattr(record.data, "data")]
