"""Many clients in one process on a host of the lab, which all arrive at once.

    crowd COUNT BOOTSTRAP… -- KEY=VALUE…

Each is a node of its own that is given the bootstrap relays and finds others. Says {"event": "ready"} when it could
begin, begins at the first line of its standard input, and goes on until standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from towpath import Node, Settings, log


async def _main(count: str, *words: str) -> None:
    at = words.index("--")
    given = dict(word.split("=", 1) for word in words[at + 1 :])
    settings = Settings.load(given | {"discovery.bootstrap": list(words[:at])})
    log.configure(settings.log)
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    print(json.dumps({"event": "ready"}), flush=True)
    await stdin.readline()
    nodes = [Node(settings) for _ in range(int(count))]
    # A node that may be reached finds relays and holds two reservations by itself.
    await asyncio.gather(*(node.start() for node in nodes))
    await stdin.read()
    await asyncio.gather(*(node.close() for node in nodes))


if __name__ == "__main__":
    uvloop.run(_main(*sys.argv[1:]))
