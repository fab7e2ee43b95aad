"""A conversation without a server: a stream from everybody to everybody else, each through a relay. Owned by `app`.

Who joins needs one person's address; that person tells where the others are. So a room lasts as long as anybody is
in it, whoever began it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from towpath import Node, Stream
from towpath.errors import StreamReset, TowpathError

from .messages import LONGEST_TEXT, MOST_PEOPLE, Hello, Say, encode, printable, receive

__all__ = ["PROTOCOL", "Person", "Room", "What"]

PROTOCOL: Final = "/towpath-chat/1"
_PAUSES_S: Final = (0.2, 1, 2, 4, 8, 15)
"""Before each attempt to reach somebody again whom we lost."""
_PATIENCE_S: Final = 20


@dataclass
class Person:
    """Somebody in the room. The peer id is proved by the connection; the name is what they call themselves."""

    peer_id: str
    name: str
    at: tuple[str, ...]
    streams: list[Stream] = field(default_factory=list)
    """Usually one; two when both sides dialed in the same moment."""

    @property
    def via(self) -> str | None:
        """The relay between us; None when the connection is direct."""
        return self.streams[-1].via


class What(Enum):
    """What happened to a person."""

    CAME = "is here"
    LEFT = "left"
    SAID = "said"


class Room:
    """`told(person, what, text)` is called when somebody came, left, or said `text`."""

    def __init__(self, node: Node, name: str, told: Callable[[Person, What, str], object]) -> None:
        self.node = node
        self.name = name
        self.people: dict[str, Person] = {}
        self._told = told
        self._tasks: set[asyncio.Task[None]] = set()
        node.set_stream_handler(PROTOCOL, self._welcome)

    async def join(self, target: str) -> None:
        """Meets the person with this address or peer id, and so everybody else. TowpathError when nobody answers."""
        stream = await self.node.connect_with_fallback(target, PROTOCOL)
        self._spawn(self._stay(stream, target))

    def say(self, text: str) -> str:
        """Tells everybody in the room; returns what was told."""
        text = printable(text)[:LONGEST_TEXT]
        if text:
            for person in self.people.values():
                # A stream that was cut off in this moment says so where it is read.
                with contextlib.suppress(StreamReset):
                    person.streams[-1].write(encode(Say(text)))
        return text

    async def leave(self) -> None:
        """Ends every stream; the others see us go."""
        self.node.set_stream_handler(PROTOCOL, None)
        for task in self._tasks:
            task.cancel()
        for person in self.people.values():
            for stream in person.streams:
                await stream.close()

    async def _welcome(self, stream: Stream) -> None:
        # The other side dialed, so it is theirs to dial again.
        await self._talk(stream)

    async def _stay(self, stream: Stream, target: str) -> None:
        # A relay may die in mid-sentence. People are the same behind another one.
        while not await self._talk(stream):
            for pause in _PAUSES_S:
                await asyncio.sleep(pause)
                try:
                    stream = await self.node.connect_with_fallback(target, PROTOCOL)
                    break
                except TowpathError:
                    target = stream.peer_id
            else:
                return

    async def _talk(self, stream: Stream) -> bool:
        """Listens until the stream ends. False when it was cut off; nobody meant it to end then."""
        others = [address for person in self.people.values() for address in person.at[:1]]
        person = None
        try:
            stream.write(encode(Hello(self.name, tuple(self.node.circuit_addresses[:4]), tuple(others))))
            async with asyncio.timeout(_PATIENCE_S):
                hello = await receive(stream)
            if not isinstance(hello, Hello):
                raise ValueError("they did not say who they are")
            person = self._enter(stream, hello)
            while True:
                match await receive(stream):
                    case Say(text):
                        self._told(person, What.SAID, text)
        except asyncio.IncompleteReadError:
            await stream.close()
        except (ValueError, TimeoutError):
            stream.reset()
        except StreamReset:
            return False
        finally:
            if person is not None:
                self._gone(person, stream)
        return True

    def _enter(self, stream: Stream, hello: Hello) -> Person:
        person = self.people.get(stream.peer_id)
        if person is None:
            if len(self.people) >= MOST_PEOPLE:
                raise ValueError("the room is full")
            person = self.people[stream.peer_id] = Person(stream.peer_id, hello.name, hello.at)
        person.streams.append(stream)
        if len(person.streams) == 1:
            self._told(person, What.CAME, "")
        for address in hello.people:
            who = address.rpartition("/p2p/")[2]
            if who != self.node.peer_id and who not in self.people:
                self._spawn(self._introduce(address))
        return person

    async def _introduce(self, address: str) -> None:
        try:
            await self.join(address)
        except TowpathError:
            # They left meanwhile, or cannot be reached from here; the others still talk to us.
            return

    def _gone(self, person: Person, stream: Stream) -> None:
        person.streams.remove(stream)
        if not person.streams:
            del self.people[person.peer_id]
            self._told(person, What.LEFT, "")

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
