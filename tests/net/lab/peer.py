"""One end of a circuit, as a process on a host of the lab.

    target RELAY          reserves there and takes whatever comes
    dialer CIRCUIT COUNT  sends over so many circuits, of as many nodes, as much as they take

Prints {"peer": its id} when it is ready and, for each line of its standard input, {"moved": bytes so far}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import uvloop

from towpath import Node, Settings, Stream, log

PROTOCOL = "/load/1"
ALONE = {"discovery.mdns": False, "discovery.dht": False, "network.port_mapping": False}
_PIECE = bytes(65536)


class _Peer:
    def __init__(self) -> None:
        self.moved = 0

    async def take(self, stream: Stream) -> None:
        while data := await stream.read(262144):
            self.moved += len(data)

    async def send(self, stream: Stream) -> None:
        while True:
            stream.write(_PIECE)
            await stream.drain()
            self.moved += len(_PIECE)


async def _main(role: str, address: str, count: str = "1") -> None:
    settings = Settings.load(ALONE)
    log.configure(settings.log)
    peer = _Peer()
    streams: list[Stream] = []
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with contextlib.AsyncExitStack() as nodes:
        for _ in range(int(count)):
            node = await nodes.enter_async_context(Node(settings))
            if role == "target":
                node.set_stream_handler(PROTOCOL, peer.take)
                await node.reserve(address)
            else:
                streams.append(await node.connect_to_peer_via_relay(address, PROTOCOL))
        # All at once, and none before: the first ones would fill the line on which the others are to connect.
        sending = [asyncio.create_task(peer.send(stream)) for stream in streams]
        print(json.dumps({"peer": node.peer_id}), flush=True)
        while await stdin.readline():
            print(json.dumps({"moved": peer.moved}), flush=True)
        for task in sending:
            task.cancel()


if __name__ == "__main__":
    uvloop.run(_main(*sys.argv[1:]))
