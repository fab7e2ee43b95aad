"""What two chats say to each other: JSON behind two bytes of length, checked while it is decoded. Owned by `room`.

Nothing that a peer sends is believed: sizes are bounded, unknown shapes refused, and characters that would steer a
terminal dropped.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from towpath import Stream

__all__ = ["LONGEST_NAME", "LONGEST_TEXT", "MOST_PEOPLE", "Hello", "Say", "decode", "encode", "receive"]

LONGEST_NAME: Final = 24
LONGEST_TEXT: Final = 2000
MOST_PEOPLE: Final = 16

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TEXT)]
Address = Annotated[str, msgspec.Meta(max_length=400)]


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first thing both sides say: who we are, where to reach us, and where to reach the others we know."""

    name: Name
    at: Annotated[tuple[Address, ...], msgspec.Meta(max_length=4)] = ()
    people: Annotated[tuple[Address, ...], msgspec.Meta(max_length=MOST_PEOPLE)] = ()


class Say(msgspec.Struct, frozen=True, tag="say"):
    """One line of talk."""

    text: Text


_decoder: Final = msgspec.json.Decoder(Hello | Say)


def printable(text: str) -> str:
    """Without control characters, direction marks and the like."""
    return "".join(character for character in text if character.isprintable())


def encode(message: Hello | Say) -> bytes:
    """Its bytes on the wire."""
    body = msgspec.json.encode(message)
    return len(body).to_bytes(2) + body


def decode(body: bytes) -> Hello | Say:
    """ValueError when it is none."""
    message = _decoder.decode(body)
    if isinstance(message, Hello):
        return Hello(printable(message.name) or "?", message.at, message.people)
    return Say(printable(message.text) or "?")


async def receive(stream: Stream) -> Hello | Say:
    """The next message. ValueError when it is none; otherwise what `Stream.readexactly` raises."""
    size = int.from_bytes(await stream.readexactly(2))
    return decode(await stream.readexactly(size))
