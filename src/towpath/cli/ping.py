"""`towpath ping`: the round trip to a peer, measured end to end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from towpath import addresses
from towpath.cli import UsageError, options
from towpath.cli.light import light_settings, run_until_stopped
from towpath.cli.options import Bootstrap, Data, Json
from towpath.cli.output import print_json, print_line, waiting
from towpath.cli.places import data_directory
from towpath.client.dialing import deadline
from towpath.errors import AddressError, NoRelaysAvailable, TowpathError
from towpath.node import Node
from towpath.ping import PING, ping_once
from towpath.settings.entries import peer_multiaddr

if TYPE_CHECKING:
    from towpath.stream import Stream

__all__ = ["ping"]

INTERVAL: Final = 1.0
PATIENCE: Final = 30.0


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
    try:
        if peer.startswith("/"):
            address = addresses.parse(peer)
            if (address.target_id if address.circuit else address.peer_id) is None:
                raise AddressError(f"{peer!r} must end in /p2p/ID")
        else:
            addresses.peer_id_to_bytes(peer)
        way = None if via is None else peer_multiaddr(via)
    except AddressError as e:
        raise UsageError(str(e)) from e
    settings = light_settings(directory, [*([way] if way else []), *(bootstrap or [])])
    return run_until_stopped(_ping(Node(settings, data=directory, reachable=False), peer, way, count, as_json=as_json))


async def _ping(node: Node, peer: str, way: str | None, count: int | None, *, as_json: bool) -> int:
    async with node:
        with waiting("Looking for a way that leads there"):
            stream: Stream | None = await _reach(node, peer, way)
        sent = answered = 0
        while count is None or sent < count:
            if sent:
                await asyncio.sleep(INTERVAL)
            sent += 1
            via = None if stream is None else stream.via
            try:
                if stream is None:
                    stream = await _reach(node, peer, way)
                    via = stream.via
                async with deadline(PATIENCE, f"pinging {peer}"):
                    rtt = 1000 * await ping_once(stream)
            except TowpathError as e:
                if stream is not None:
                    stream.reset()
                stream = None
                print_json({"error": str(e), "via": via}) if as_json else print_line(f"no answer: {e}")
                continue
            answered += 1
            if as_json:
                print_json({"rtt_ms": round(rtt, 3), "via": via})
            else:
                print_line(f"{rtt:.3f} ms" + (f" through {via}" if via else ""))
    return 0 if answered else 1


async def _reach(node: Node, peer: str, way: str | None) -> Stream:
    """A stream for pings; at an address that leads through no relay, directly, since its owner wrote it so."""
    if peer.startswith("/") and not addresses.parse(peer).circuit:
        return await node.connect(peer, PING)
    try:
        return await node.connect_to_peer_via_relay(peer, PING, via=way)
    except NoRelaysAvailable as e:
        unknown = "no relay is known: name one with --bootstrap /ip4/ADDRESS/tcp/PORT/p2p/ID"
        raise NoRelaysAvailable(e.tried or [unknown]) from e
