"""One end of a control stream: messages in, messages out, without a task of its own.

Knows neither relay nor client; whoever owns it hears of each message and of the end. A peer that breaks the protocol
loses the stream and nothing else.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Final, Protocol

from towpath.relaystream.framing import MessageReader, Pace, frame
from towpath.relaystream.messages import VERSION, ControlProtocolError, Hello, Message, Unknown, decode, encode

if TYPE_CHECKING:
    from asyncio import Future

    from towpath._native.appstream import AppStream
    from towpath._native.session import Session

__all__ = ["ControlStream", "Owner"]

_READ: Final = 8192
"""Bytes taken in one turn of the loop."""
_UNSENT_MAX: Final = 16384
"""Bytes that may wait for a peer that does not read; with more, the stream ends."""


@functools.cache
def _greeting(can: tuple[str, ...]) -> bytes:
    return frame(encode(Hello(VERSION, can)))


class Owner(Protocol):
    """Who has a control stream."""

    def heard(self, stream: ControlStream, message: Message) -> None:
        """A message came. ControlProtocolError ends the stream."""

    def ended(self, stream: ControlStream, why: str) -> None:
        """The stream is over; nothing more comes. Called once."""


class ControlStream:
    """Greets at once. What is sent before the other side answered waits in its stream, in order."""

    __slots__ = ("_native", "_owner", "_pace", "_reader", "hello", "over")

    def __init__(
        self, native: AppStream, owner: Owner, *, burst: float, per_s: float, can: tuple[str, ...] = ()
    ) -> None:
        self.hello: Hello | None = None
        """What the other side said first."""
        self.over = False
        self._native = native
        self._owner = owner
        self._pace = Pace(burst, per_s)
        self._reader = MessageReader()
        self.send(_greeting(can))

    @property
    def session(self) -> Session:
        """Whose stream it is."""
        return self._native.session

    @property
    def room(self) -> int:
        """Bytes that may be sent now without the other side's reading any."""
        return max(0, _UNSENT_MAX - self._native.pending)

    @property
    def unfinished(self) -> bool:
        """Has the other side begun a message and not ended it?"""
        return self._reader.unfinished

    def listen(self) -> None:
        """Hears what has come and what comes from now on; once, when the other side has agreed to the protocol."""
        # What is there is heard at once: the answer that it explains may be there as well.
        if self._native.available:
            self._hear()
        else:
            self._wait()

    def send(self, framed: bytes) -> None:
        """Sends a message with its length (`framing.frame`). A peer that leaves too much unread loses the stream."""
        if self.over:
            return
        self._native.write(framed)
        if self._native.pending > _UNSENT_MAX:
            self.end("the other side does not read")

    def may_say_more(self, n: int) -> None:
        """Lets the other side say `n` messages more than its pace allows: it said them because it was asked to."""
        self._pace.give(n)

    def end(self, why: str) -> None:
        """Ends it at once; what was just written may be lost."""
        if self.over:
            return
        self.over = True
        self._native.reset()
        self._owner.ended(self, why)

    def finish(self, why: str) -> None:
        """Ends it behind what was written."""
        if self.over:
            return
        self.over = True
        self._native.close_write()
        self._native.discard()
        self._owner.ended(self, why)

    def _wait(self) -> None:
        self._native.wait_readable().add_done_callback(self._readable)

    def _readable(self, _future: Future[None]) -> None:
        if not self.over:
            self._hear()

    def _hear(self) -> None:
        native = self._native
        data = native.read(_READ)
        if data:
            try:
                for body in self._reader.feed(data):
                    self._take(decode(body))
                    if self.over:
                        return
            except ControlProtocolError as error:
                self.end(str(error))
                return
        elif native.was_reset or native.discarding:
            self.end("it was reset")
            return
        elif native.ended:
            self.finish("the other side closed it")
            return
        self._wait()

    def _take(self, message: Message | Unknown) -> None:
        if not self._pace.take(time.monotonic()):
            raise ControlProtocolError("control messages come too fast")
        if isinstance(message, Hello):
            if self.hello is not None:
                raise ControlProtocolError("a second greeting")
            self.hello = message
        elif self.hello is None:
            raise ControlProtocolError("no greeting came first")
        if not isinstance(message, Unknown):
            self._owner.heard(self, message)
