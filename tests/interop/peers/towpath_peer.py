"""A towpath node that plays listener or dialer in the interop matrix; README.md defines what it takes and prints.

The relay of the matrix is `towpath run` itself.
"""

import argparse
import asyncio
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable

import uvloop

from towpath import Node, Settings, Stream

ECHO = "/towpath-test/echo/1.0.0"
LATE = "/towpath-test/late-answer/1.0.0"
EARLY = "/towpath-test/early-close/1.0.0"

SIDE_BYTES = 1 << 20
REQUEST_BYTES = 1024
GREETING = b"towpath"
CHUNK = 1 << 16
PATIENCE = 60.0


def emit(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def expand(seed: bytes, size: int) -> bytes:
    """SHAKE-256 of the seed, cut to size: every peer derives the same bytes from a seed."""
    return hashlib.shake_256(seed).digest(size)


class Tally:
    """Hashes and counts what passes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._hash = hashlib.sha256()

    def add(self, chunk: bytes | memoryview) -> None:
        self.bytes += len(chunk)
        self._hash.update(chunk)

    def sum(self) -> str:
        return self._hash.hexdigest()


async def send(stream: Stream, data: bytes) -> Tally:
    tally = Tally()
    for at in range(0, len(data), CHUNK):
        chunk = memoryview(data)[at : at + CHUNK]
        stream.write(chunk)
        await stream.drain()
        tally.add(chunk)
    await stream.close_write()
    return tally


async def absorb(stream: Stream) -> Tally:
    tally = Tally()
    while chunk := await stream.read():
        tally.add(chunk)
    return tally


async def collect(stream: Stream) -> bytes:
    collected = bytearray()
    while chunk := await stream.read():
        collected += chunk
    return bytes(collected)


async def echo(stream: Stream) -> Tally:
    tally = Tally()
    while chunk := await stream.read():
        stream.write(chunk)
        await stream.drain()
        tally.add(chunk)
    await stream.close_write()
    return tally


async def answer_late(stream: Stream) -> Tally:
    request = await collect(stream)
    await send(stream, expand(request, SIDE_BYTES))
    tally = Tally()
    tally.add(request)
    return tally


async def close_early(stream: Stream) -> Tally:
    stream.write(GREETING)
    await stream.close_write()
    return await absorb(stream)


def serve(node: Node, protocol: str, handler: Callable[[Stream], Awaitable[Tally]]) -> None:
    async def handle(stream: Stream) -> None:
        try:
            got = await handler(stream)
        except Exception as error:
            emit("failed", protocol=protocol, message=repr(error))
            raise
        emit("served", protocol=protocol, bytes=got.bytes, sha256=got.sum())

    node.set_stream_handler(protocol, handle)


async def run_listener(node: Node, relay: str | None) -> None:
    for protocol, handler in ((ECHO, echo), (LATE, answer_late), (EARLY, close_early)):
        serve(node, protocol, handler)
    emit("ready", peer_id=node.peer_id, addrs=[])
    if relay is not None:
        held = await node.reserve(relay, timeout=PATIENCE)
        emit(
            "reserved",
            relay=held.relay_id,
            addrs=held.addresses,
            voucher=held.voucher is not None,
            limit=held.limit is not None,
            expires=int(held.expires_at),
        )


async def run_dialer(node: Node, target: str, seed: bytes, size: int) -> None:
    emit("ready", peer_id=node.peer_id, addrs=[])
    async with await node.connect(target, ECHO, timeout=PATIENCE) as stream:
        emit("connected")
        sent, received = await asyncio.gather(send(stream, expand(seed, size)), absorb(stream))
    emit(
        "echo",
        sent=sent.bytes,
        sent_sha256=sent.sum(),
        received=received.bytes,
        received_sha256=received.sum(),
    )
    async with await node.connect(target, LATE, timeout=PATIENCE) as stream:
        await send(stream, expand(seed, REQUEST_BYTES))
        received = await absorb(stream)
    emit("late-answer", received=received.bytes, received_sha256=received.sum())
    async with await node.connect(target, EARLY, timeout=PATIENCE) as stream:
        greeting = await collect(stream)
        sent = await send(stream, expand(seed, SIDE_BYTES))
    emit("early-close", greeting=greeting.decode(), sent=sent.bytes, sent_sha256=sent.sum())


async def stdin_closed() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def run(arguments: argparse.Namespace) -> None:
    async with Node(Settings.load({"relay.mode": "client", "discovery.mdns": False}), data=None) as node:
        if arguments.role == "listener":
            await run_listener(node, arguments.relay)
        else:
            async with asyncio.timeout(PATIENCE):
                await run_dialer(node, arguments.target, arguments.seed.encode(), arguments.bytes)
        # What was sent last may still be on its way.
        await stdin_closed()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["listener", "dialer"])
    parser.add_argument("--relay")
    parser.add_argument("--target")
    parser.add_argument("--seed", default="")
    parser.add_argument("--bytes", type=int, default=16 << 20)
    parser.add_argument("--allow-limited", action="store_true", help="towpath asks nobody to opt in")
    try:
        uvloop.run(run(parser.parse_args()))
    except Exception as error:  # noqa: BLE001 - the protocol's last line
        emit("error", message=repr(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
