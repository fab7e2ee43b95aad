"""The client's questions on one control stream: look-ups, and its own record handed over; answers find their question.

Knows no sockets: `send` takes messages, `heard` and `ended` are told what came.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from towpath.errors import TowpathError
from towpath.relaystream.messages import (
    MAX_ASKED,
    ControlProtocolError,
    Found,
    HandOver,
    LookUpPeer,
    LookUpRelays,
    Message,
    ShowReceipts,
    Taken,
)
from towpath.relaystream.reasons import Answer, answer_sentence

__all__ = ["AT_ONCE", "MAX_PEER_RECORDS", "MAX_SHOWN", "Asking", "LookUpFailed"]

AT_ONCE: Final = 8
"""Questions without an answer."""
MAX_PEER_RECORDS: Final = 4
"""Records of one peer that a relay may answer with: it may know of several and not which one counts."""


MAX_SHOWN: Final = 18
"""Receipts behind one digest, which names no more relays."""


class LookUpFailed(TowpathError):
    """A relay did not look something up, or did not take a record: `code` is a `reasons.Answer`, None: no answer."""

    def __init__(self, code: int | None, why: str) -> None:
        self.code = code
        super().__init__(f"the relay did not help: {why}; ask another relay")


class _Question:
    __slots__ = ("answer", "most", "records")

    def __init__(self, most: int) -> None:
        self.most = most
        self.records: list[bytes] = []
        self.answer: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()


class Asking:
    """The questions of one stream. Cancelled questions are forgotten; their answers are then passed over."""

    __slots__ = ("_ids", "_open", "_send", "_stale")

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._ids = itertools.count(1)
        self._open: dict[int, _Question] = {}
        self._stale: dict[int, None] = {}

    @property
    def waiting(self) -> bool:
        """Is anything not answered yet?"""
        return bool(self._open)

    async def peer(self, peer_id: bytes) -> list[bytes]:
        """The raw records that the relay has of a peer. LookUpFailed."""
        return await self._ask(lambda number: LookUpPeer(number, peer_id), MAX_PEER_RECORDS)

    async def relays(self, most: int) -> list[bytes]:
        """Raw advertisements of some relays. LookUpFailed."""
        most = max(1, min(most, MAX_ASKED))
        return await self._ask(lambda number: LookUpRelays(number, most), most)

    async def receipts(self, payer: bytes, day: int) -> list[bytes]:
        """The countersigned receipts behind what an account told of a day, raw. LookUpFailed."""
        return await self._ask(lambda number: ShowReceipts(number, payer, day), MAX_SHOWN)

    async def hand_over(self, raw: bytes) -> None:
        """Gives the relay our record. LookUpFailed when it does not take it."""
        await self._ask(lambda number: HandOver(number, raw), 0)

    async def _ask(self, message: Callable[[int], Message], most: int) -> list[bytes]:
        if len(self._open) >= AT_ONCE:
            raise LookUpFailed(Answer.BUSY, f"{AT_ONCE} questions wait for its answer already")
        number = next(self._ids) & 0xFFFFFFFF
        question = self._open[number] = _Question(most)
        try:
            self._send(message(number))
            return await question.answer
        finally:
            if self._open.pop(number, None) is not None:
                self._stale[number] = None
                while len(self._stale) > 4 * AT_ONCE:
                    del self._stale[next(iter(self._stale))]

    def heard(self, message: Found | Taken) -> None:
        """An answer came; ControlProtocolError when nobody asked, or it is more than was asked for."""
        question = self._open.get(message.id)
        if question is None:
            if message.id not in self._stale:
                raise ControlProtocolError("an answer to nothing that was asked")
            if not (isinstance(message, Found) and message.more):
                del self._stale[message.id]
            return
        if isinstance(message, Taken) is not (question.most == 0):
            raise ControlProtocolError("an answer to something else than what was asked")
        if isinstance(message, Found):
            question.records += message.records
            if len(question.records) > question.most or (message.more and not message.records):
                raise ControlProtocolError("more records than were asked for")
            if message.more:
                return
        # It waits no more, also while its task did not get to run yet.
        del self._open[message.id]
        if question.answer.done():
            return
        if message.code:
            question.answer.set_exception(LookUpFailed(message.code, answer_sentence(message.code)))
        else:
            question.answer.set_result(question.records)

    def ended(self, why: str) -> None:
        """The stream is over: whoever waits fails."""
        for question in self._open.values():
            if not question.answer.done():
                question.answer.set_exception(LookUpFailed(None, f"the control stream ended: {why}"))
        self._open.clear()
