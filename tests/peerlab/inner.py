"""A connection inside a circuit: the wire is a stream of another session, end to end between the two peers."""

from tests.peerlab.peer import Link, Peer
from tests.peerlab.session import Stream, StreamLost, StreamReset
from tests.peerlab.upgrade import initiate, respond
from tests.peerlab.wire import Wire


class CircuitWire(Wire):
    """A circuit's stream in the place of a socket."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.heard = None
        self.how_it_ended = None

    @property
    def observed(self) -> bytes:
        return b""

    async def send(self, data: bytes) -> None:
        try:
            await self.stream.write(data)
        except (StreamReset, StreamLost) as end:
            raise ConnectionResetError(str(end)) from end

    async def read(self, size: int) -> bytes:
        try:
            return await self.stream.read(size, patience=FOREVER)
        except (StreamReset, StreamLost) as end:
            self.how_it_ended = "reset"
            raise EOFError(str(end)) from end
        except EOFError:
            self.how_it_ended = "closed"
            raise

    def abort(self) -> None:
        self.stream.reset_soon()

    def close(self) -> None:
        self.abort()


FOREVER = 1e9
"""A session's reader waits as long as the session lasts."""


async def initiate_inside(peer: Peer, stream: Stream) -> Link:
    """The dialer's half of the inner handshake."""
    return peer.adopt(await initiate(CircuitWire(stream), peer.identity, peer.manner), initiator=True)


async def respond_inside(peer: Peer, stream: Stream) -> Link:
    """The target's half of the inner handshake."""
    return peer.adopt(await respond(CircuitWire(stream), peer.identity, peer.manner), initiator=False)
