"""A node on a host of the lab that sends when it is told to, and tells what its ledger says.

    spender DIRECTORY IDENTITIES honest|unsigned -- KEY=VALUE…

Says {"event": "ready"} with the ids and where it listens, then answers each line of its standard input, a JSON object:
{"reserve": relay}, {"send": bytes, "to": peer id, "via": relay}, {"books": relay id}, {"settle": seconds}. With several
IDENTITIES these send one after another. `unsigned` never signs a receipt. Ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import uvloop

from towpath import Node, Settings, Stream, log
from towpath.addresses import peer_id_to_bytes
from towpath.errors import RelayError, TowpathError

SINK = "/lab/sink/1"
_PIECE = bytes(1 << 16)
_PART = 1 << 21
"""Bytes of one stream."""
_SILENT_S = 20.0


def _say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


async def _sink(stream: Stream) -> None:
    # Says at the end how much it was.
    total = 0
    async with stream:
        while part := await stream.read():
            total += len(part)
        stream.write(total.to_bytes(8, "big"))
        await stream.close_write()


async def _refusing(*_: object) -> bool:
    return False


async def _send(node: Node, size: int, to: str, via: str) -> tuple[int, str | None]:
    """Bytes that arrived, and why it was no more: the relay's refusal, or None."""
    arrived = 0
    while arrived < size:
        try:
            stream = await node.connect_to_peer_via_relay(to, SINK, via=via)
        except RelayError as error:
            return arrived, str(error)
        sent, part = 0, min(_PART, size - arrived)
        with contextlib.suppress(TowpathError, TimeoutError, asyncio.IncompleteReadError):
            async with stream, asyncio.timeout(_SILENT_S):
                while sent < part:
                    piece = _PIECE[: part - sent]
                    stream.write(piece)
                    await stream.drain()
                    sent += len(piece)
                await stream.close_write()
                arrived += int.from_bytes(await stream.readexactly(8), "big")
                continue
        # Cut off, by a limit that was told or for good: what of the part arrived the ledgers say.
        await asyncio.sleep(0)
    return arrived, None


def _hang_up(node: Node) -> None:
    # What a circuit was promised is somebody else's as soon as it ends.
    for endpoint in (node._peer, *node._client.endpoints):
        for peer in list(endpoint.peers.values()):
            for session in [session for session in peer.sessions if session.via]:
                session.close()


async def _answer(nodes: list[Node], asked: dict[str, Any]) -> None:
    if "reserve" in asked:
        for node in nodes:
            await node.reserve(asked["reserve"])
        _say("reserved")
    elif "send" in asked:
        ends = []
        for node in nodes:
            ends.append(await _send(node, asked["send"], asked["to"], asked["via"]))
            _hang_up(node)
        _say("sent", bytes=[arrived for arrived, _ in ends], why=[why for _, why in ends])
    elif "settle" in asked:
        for node in nodes:
            await node.credits.paying.settle(asked["settle"])
        _say("settled")
    else:
        _say("books", **_books(nodes, peer_id_to_bytes(asked["books"])))


def _books(nodes: list[Node], relay: bytes) -> dict[str, Any]:
    # What each identity signed for this relay; and, of the first one's relay, what it knows of those that sent.
    credits, service = nodes[0].credits, nodes[0]._relay.relay
    senders = credits.ledger.senders
    return {
        "accounts": [node.credits.account.public_key.hex() for node in nodes],
        "signed": [node.credits.ledger.relayed_for_me(relay) for node in nodes],
        "carried": {
            who.hex(): {
                "all": sender.carried,
                "on_credit": sender.credit,
                "free": sender.free,
                "gift": sender.beyond,
                "signed": credits.ledger.paid_ever(who),
                "credit": credits.credit.credit_of(who),
            }
            for who, sender in (*senders.accounts().items(), *senders.networks().items())
        },
        "open": 0 if service is None else len(service.circuits),
        "data_plane": 0 if service is None else sum(service.totals()),
    }


async def _main(directory: str, identities: str, kind: str, _dashes: str, *words: str) -> None:
    settings = Settings.load(dict(word.split("=", 1) for word in words))
    log.configure(settings.log)
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with contextlib.AsyncExitStack() as stack:
        nodes = []
        for number in range(int(identities)):
            node = Node(settings, data=Path(directory) / str(number), reachable=False)
            nodes.append(await stack.enter_async_context(node))
            node.set_stream_handler(SINK, _sink)
            if kind == "unsigned":
                node.credits.ledger.commit_seq = _refusing  # type: ignore[assignment]
        _say("ready", peer_id=nodes[0].peer_id, relay_id=nodes[0].relay_id, listen=nodes[0].listen_addresses)
        while line := await stdin.readline():
            await _answer(nodes, json.loads(line))
    _say("closed")


if __name__ == "__main__":
    uvloop.run(_main(*sys.argv[1:]))
