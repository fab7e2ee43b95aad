"""`towpath ping`: the round trip to a peer, measured end to end."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from cyclopts import Parameter

from towpath import addresses
from towpath.cli import UsageError, options
from towpath.cli.light import light_settings, relay_hints, run_until_stopped
from towpath.cli.options import Bootstrap, Data, Json
from towpath.cli.output import print_json, print_line, waiting
from towpath.cli.places import data_directory
from towpath.errors import AddressError, NoRelaysAvailable, TowpathError
from towpath.node import Node
from towpath.settings.values import peer_multiaddr

__all__ = ["ping"]

INTERVAL: Final = 1.0


def ping(
    peer: Annotated[str, Parameter(help="A peer id, or an address that ends in /p2p/ID.")],
    /,
    *,
    count: Annotated[
        int | None, Parameter(converter=options.count, n_tokens=1, metavar="N", help="How many times; or unlimited.")
    ] = 4,
    via: Annotated[
        str | None, Parameter(metavar="MULTIADDR", help="The relay to go through: a multiaddr that ends in /p2p/ID.")
    ] = None,
    bootstrap: Bootstrap = None,
    data: Data = None,
    as_json: Json = False,
) -> int:
    """Measure the round trip to a peer, end to end. Exits with 1 when nothing came back."""
    directory = data_directory(data)
    ways: list[str | None]
    try:
        if peer.startswith("/"):
            address = addresses.parse(peer)
            if (address.target_id if address.circuit else address.peer_id) is None:
                raise AddressError(f"{peer!r} must end in /p2p/ID")
            ways = [None]
        else:
            addresses.peer_id_to_bytes(peer)
            ways = []
        named = [peer_multiaddr(via)] if via is not None else []
    except AddressError as e:
        raise UsageError(str(e)) from e
    settings = light_settings(directory, [*named, *(bootstrap or [])])
    if not ways:
        ways = [*named] if named else [*relay_hints(settings, directory)]
    return run_until_stopped(_ping(Node(settings, data=directory), peer, ways, count, as_json=as_json))


async def _ping(node: Node, peer: str, ways: list[str | None], count: int | None, *, as_json: bool) -> int:
    async with node:
        with waiting("Looking for a relay that leads there"):
            way = await _first_way(node, peer, ways)
        via = _relay_id(peer, way)
        sent = answered = 0
        while count is None or sent < count:
            if sent:
                await asyncio.sleep(INTERVAL)
            sent += 1
            try:
                rtt = 1000 * await node.ping(peer, via=way)
            except TowpathError as e:
                print_json({"error": str(e), "via": via}) if as_json else print_line(f"no answer: {e}")
                continue
            answered += 1
            if as_json:
                print_json({"rtt_ms": round(rtt, 3), "via": via})
            else:
                print_line(f"{rtt:.3f} ms" + (f" through {via}" if via else ""))
    return 0 if answered else 1


async def _first_way(node: Node, peer: str, ways: list[str | None]) -> str | None:
    """The first relay through which the peer answers; NoRelaysAvailable with what each one said."""
    if len(ways) == 1:
        return ways[0]
    tried = []
    for way in ways:
        try:
            await node.ping(peer, via=way)
        except TowpathError as e:
            tried.append(f"{way}: {e}")
        else:
            return way
    raise NoRelaysAvailable(tried)


def _relay_id(peer: str, way: str | None) -> str | None:
    if way is not None:
        return way.rpartition("/p2p/")[2]
    address = addresses.parse(peer)
    return addresses.peer_id_to_text(address.peer_id) if address.circuit and address.peer_id else None
