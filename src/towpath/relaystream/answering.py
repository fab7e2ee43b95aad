"""The relay's answers on control streams: looks up what clients ask for, and takes their own records.

What is known and who is asked is `Answers`' business; here are the bounds: how much one client and all together may
have looked up, and how much of an answer goes into a stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from towpath.addresses import host_of
from towpath.errors import TowpathError
from towpath.log import get_logger
from towpath.relaystream.asking import MAX_SHOWN
from towpath.relaystream.framing import Pace, frame
from towpath.relaystream.messages import (
    MAX_FOUND,
    Found,
    HandOver,
    LookUpPeer,
    LookUpRelays,
    ShowReceipts,
    Taken,
    encode,
)
from towpath.relaystream.reasons import Answer

if TYPE_CHECKING:
    from towpath.relaystream.stream import ControlStream

__all__ = ["CAN", "Answering", "Answers", "Client", "TooManyAsk", "parts"]

CAN: Final = "lookup"
"""The word of HELLO for all of this."""
AT_ONCE: Final = 64
"""Look-ups under way, of all clients."""
EACH: Final = 4
"""Look-ups of one client under way."""
_LOOK_UPS: Final = (12.0, 0.5)
"""Look-ups of one client: at once, and each second from then on."""
_HAND_OVERS: Final = (6.0, 0.1)
_LONGEST_S: Final = 9.0
_log = get_logger("relay")


class TooManyAsk(TowpathError):
    """Nothing more is looked up for now."""


class Answers(Protocol):
    """What a relay knows, or can find out. Records are raw; TowpathError: nobody can be asked now."""

    async def peer(self, peer_id: bytes) -> list[bytes]:
        """Records of a peer, 4 at most."""
        ...

    async def relays(self, most: int) -> list[bytes]:
        """Advertisements of so many relays at most, another choice each time."""
        ...

    def take(self, peer_id: bytes, raw: bytes) -> Answer:
        """Keeps and publishes the record of a peer that holds a reservation here. Answers at once."""
        ...

    def receipts(self, payer: bytes, day: int) -> list[bytes]:
        """Countersigned receipts behind what this node's account told of a day; none for another. Answers at once."""
        ...


class Client:
    """How much one client has asked for."""

    __slots__ = ("hand_overs", "look_ups", "under_way")

    def __init__(self) -> None:
        self.look_ups = Pace(*_LOOK_UPS)
        self.hand_overs = Pace(*_HAND_OVERS)
        self.under_way: set[asyncio.Task[None]] = set()


class Answering:
    """Answers the clients of one relay. `answers(host)` are those for who asks from this IP address."""

    def __init__(self, answers: Callable[[str], Answers]) -> None:
        self._answers = answers
        self._under_way = 0

    def heard(
        self,
        stream: ControlStream,
        client: Client,
        reserved: bool,
        message: LookUpPeer | LookUpRelays | ShowReceipts | HandOver,
    ) -> None:
        """A client asked; the answer goes out on its stream. `reserved`: does it hold a reservation here?"""
        now = time.monotonic()
        if isinstance(message, HandOver):
            code = Answer.BUSY
            if not reserved:
                code = Answer.NO_RESERVATION
            elif client.hand_overs.take(now):
                code = self._answers(_host(stream)).take(stream.session.peer_id, message.record)
            stream.send(frame(encode(Taken(message.id, int(code)))))
            return
        if self._under_way >= AT_ONCE or len(client.under_way) >= EACH or not client.look_ups.take(now):
            stream.send(frame(encode(Found(message.id, code=int(Answer.BUSY)))))
            return
        task = asyncio.get_running_loop().create_task(self._look_up(stream, message))
        self._under_way += 1
        client.under_way.add(task)
        task.add_done_callback(lambda done: self._done(client, done))

    def ended(self, client: Client) -> None:
        """The client's stream is over: its look-ups end."""
        for task in list(client.under_way):
            task.cancel()

    def _done(self, client: Client, task: asyncio.Task[None]) -> None:
        self._under_way -= 1
        client.under_way.discard(task)

    async def _look_up(self, stream: ControlStream, message: LookUpPeer | LookUpRelays | ShowReceipts) -> None:
        records: list[bytes] = []
        code = Answer.DONE
        answers = self._answers(_host(stream))
        try:
            async with asyncio.timeout(_LONGEST_S):
                if isinstance(message, LookUpPeer):
                    records = await answers.peer(message.peer_id)
                elif isinstance(message, ShowReceipts):
                    records = answers.receipts(message.payer, message.day)[:MAX_SHOWN]
                else:
                    records = (await answers.relays(message.most))[: message.most]
        except TooManyAsk:
            code = Answer.BUSY
        except (TowpathError, TimeoutError) as error:
            _log.debug("lookup_failed", error=str(error) or "it took too long")
            code = Answer.UNABLE
        for framed in parts(message.id, records, code, stream.room):
            stream.send(framed)


def _host(stream: ControlStream) -> str:
    return host_of(stream.session.remote)


def parts(number: int, records: list[bytes], code: Answer, room: int) -> list[bytes]:
    """The messages of one answer with their lengths, as many of the records as fit into `room` bytes, half of it kept.

    A client that reads slowly gets fewer records, not an end of its stream.
    """
    size = 0
    taken: list[bytes] = []
    for record in records:
        size += len(record) + 8
        if size > room // 2:
            break
        taken.append(record)
    pieces = [tuple(taken[at : at + MAX_FOUND]) for at in range(0, len(taken), MAX_FOUND)] or [()]
    last = len(pieces) - 1
    return [frame(encode(Found(number, piece, at < last, int(code)))) for at, piece in enumerate(pieces)]
