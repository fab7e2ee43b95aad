"""A py-libp2p host in a process of its own, driven by its command line; facts go to stdout as JSON lines.

    python py_libp2p_peer.py RELAY probe            connect, identify, ping, reserve
    python py_libp2p_peer.py RELAY listen           reserve, say everything again on circuits, until stdin ends
    python py_libp2p_peer.py RELAY dial TARGET      send SIZE bytes over a circuit that says them again

RELAY is a multiaddr with /p2p/ID, TARGET a peer id. Its noise, yamux, multistream and protobuf are py-libp2p's own.
"""

import hashlib
import json
import os
import sys

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo, info_from_p2p_addr
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, StopMessage
from libp2p.utils import encode_varint_prefixed, read_varint_prefixed_bytes
from multiaddr import Multiaddr

HOP = TProtocol("/libp2p/circuit/relay/0.2.0/hop")
STOP = TProtocol("/libp2p/circuit/relay/0.2.0/stop")
OK = 100
SIZE = 1 << 20


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


async def ask(host: IHost, relay: PeerInfo, message: HopMessage) -> tuple[INetStream, HopMessage]:
    """Sends a HOP message and returns the stream and the answer."""
    stream = await host.new_stream(relay.peer_id, [HOP])
    await stream.write(encode_varint_prefixed(message.SerializeToString()))
    answer = HopMessage()
    answer.ParseFromString(await read_varint_prefixed_bytes(stream))
    return stream, answer


async def reserve(host: IHost, relay: PeerInfo) -> None:
    _, answer = await ask(host, relay, HopMessage(type=HopMessage.RESERVE))
    addresses = [str(Multiaddr(address)) for address in answer.reservation.addrs]
    tell(event="reserved", status=answer.status, addresses=addresses)


async def read_all(stream: INetStream) -> bytes:
    """Everything up to the other side's close."""
    data = b""
    while True:
        try:
            part = await stream.read(65536)
        except StreamEOF:
            return data
        if not part:
            return data
        data += part


async def say_again(stream: INetStream) -> None:
    """The target's side of a circuit: accepts it and echoes until the dialer has said all."""
    request = StopMessage()
    request.ParseFromString(await read_varint_prefixed_bytes(stream))
    answer = StopMessage(type=StopMessage.STATUS)
    answer.status = OK  # type: ignore[assignment]
    await stream.write(encode_varint_prefixed(answer.SerializeToString()))
    data = await read_all(stream)
    await stream.write(data)
    await stream.close()
    tell(event="echoed", source=ID(request.peer.id).to_base58(), size=len(data))


async def probe(host: IHost, relay: PeerInfo) -> None:
    protocols = host.get_peerstore().get_protocols(relay.peer_id)
    tell(event="connected", peer_id=host.get_id().to_base58(), protocols=list(protocols))
    rtts = await PingService(host).ping(relay.peer_id, ping_amt=3)
    tell(event="pinged", replies=len(rtts))
    await reserve(host, relay)


async def dial(host: IHost, relay: PeerInfo, target: str) -> None:
    message = HopMessage(type=HopMessage.CONNECT)
    message.peer.id = ID.from_base58(target).to_bytes()
    stream, answer = await ask(host, relay, message)
    tell(event="connected", status=answer.status)
    data = os.urandom(SIZE)
    got = b""
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            for at in range(0, SIZE, 65536):
                await stream.write(data[at : at + 65536])
            await stream.close()

        nursery.start_soon(write)
        got = await read_all(stream)
    tell(event="echo", equal=hashlib.sha256(got).digest() == hashlib.sha256(data).digest(), size=len(got))


async def main(relay_address: str, role: str, *arguments: str) -> None:
    host = new_host(muxer_preference="YAMUX", listen_addrs=[])
    relay = info_from_p2p_addr(Multiaddr(relay_address))
    async with host.run(listen_addrs=[]):
        host.set_stream_handler(STOP, say_again)
        await host.connect(relay)
        if role == "probe":
            await probe(host, relay)
        elif role == "listen":
            await reserve(host, relay)
            tell(event="listening", peer_id=host.get_id().to_base58())
            await trio.to_thread.run_sync(sys.stdin.read)
        else:
            await dial(host, relay, *arguments)
    os._exit(0)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
