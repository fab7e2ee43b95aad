"""A neighbour on the local network, as a process: finds relays by mDNS; with an IP address it relays there and says so.

`python -m tests.net.neighbour [IP]` prints JSON lines: `ready` {relay_id}, and for each line it reads `found` {rows of
`towpath relays`}. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvloop

import towpath.log
from towpath import Node, Settings
from towpath._native.reactor import Reactor
from towpath.discovery.finder import Finder
from towpath.discovery.mdns import Mdns
from towpath.discovery.probing import Prober


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event} | facts), flush=True)


async def main(ip: str | None) -> None:
    settings = {
        "relay.mode": "client" if ip is None else "dedicated",
        "network.listen": [] if ip is None else [f"/ip4/{ip}/tcp/0"],
        "discovery.mdns": False,  # what this process does itself
        "discovery.dht": False,
    }
    chosen = Settings.load(settings, environ={})
    towpath.log.configure(chosen.log)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with Node(chosen) as node:
        mdns = Mdns()
        reactor = Reactor(loop)
        prober = Prober(reactor)
        finder = Finder([mdns], probe=prober.ask)
        if ip is not None:
            await mdns.announce(node.listen_addresses)
        say("ready", relay_id=node.relay_id)
        while await lines.readline():
            await finder.search()
            say("found", rows=finder.rows(), addresses=[c.candidate.addresses for c in finder.ranked()])
        await finder.close()
        await mdns.close()
        prober.close()
        reactor.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
