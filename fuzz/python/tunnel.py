"""A tunnel's messages and frames. The first byte of an input says what the rest is read as."""

from __future__ import annotations

import json
from pathlib import Path

from towpath.client.tunnel.wire import (
    MAX_FRAME,
    Answer,
    FrameReader,
    Kind,
    Relays,
    TunnelProtocolError,
    decode_opening,
)

__all__ = ["check", "seeds"]

_VECTORS = Path(__file__).parents[2] / "tests" / "vectors" / "tunnel.json"
_SECRET = 16
_LENGTH = 2
_READS = (decode_opening, Answer.decode, Relays.decode)


def seeds() -> list[bytes]:
    """The examples of the test vectors."""
    found = json.loads(_VECTORS.read_text())
    openings = [bytes.fromhex(vector["bytes"])[_SECRET + _LENGTH :] for vector in found["openings"]]
    answers = [bytes.fromhex(vector["bytes"])[_LENGTH:] for vector in found["answers"]]
    relays = [bytes.fromhex(found["relays"]["bytes"])[_LENGTH:]]
    frames = [bytes.fromhex(found["frames"]["bytes"])]
    return [bytes([kind]) + data for kind, all_ in enumerate((openings, answers, relays, frames)) for data in all_]


def check(data: bytes) -> None:
    """AssertionError when a reader took what it must not; any other exception is a fault of the reader, too."""
    if not data:
        return
    kind, rest = data[0] % (len(_READS) + 1), data[1:]
    if kind == len(_READS):
        _frames(rest)
        return
    try:
        message = _READS[kind](rest)
    except TunnelProtocolError:
        return
    again = message.encode()[_LENGTH:]
    if isinstance(message, Answer):
        # What could harm a terminal was taken out of its text.
        _must(Answer.decode(again) == message, "it does not survive")
    elif isinstance(message, Relays):
        _must(Relays.decode(again) == message, "it does not survive")
    else:
        _must(again == rest, "it has another encoding")


def _frames(data: bytes) -> None:
    came = _read([data])
    _must(_read([data[i : i + 1] for i in range(len(data))]) == came, "it depends on how it is cut")
    said = came[0]
    _must(sum(len(value) for value in said if isinstance(value, bytes)) <= len(data), "it makes data up")


def _read(pieces: list[bytes]) -> tuple[list[bytes | tuple[Kind, int]], bool]:
    # The data of neighbouring frames together, and whether it was refused.
    reader = FrameReader()
    said: list[bytes | tuple[Kind, int]] = []
    for piece in pieces:
        try:
            came = reader.feed(piece)
        except TunnelProtocolError:
            # What came before it in the same piece is not given out.
            return [], True
        for kind, value in came:
            if not isinstance(value, memoryview):
                said.append((kind, value))
            elif said and isinstance(said[-1], bytes):
                said[-1] += bytes(value)
            else:
                said.append(bytes(value))
            _must(not isinstance(value, memoryview) or len(value) <= MAX_FRAME, "a frame is too long")
    return said, False


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
