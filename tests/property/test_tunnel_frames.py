"""The tunnel's messages and frames, fed in every possible way."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.client.tunnel import wire

chunks = st.lists(st.binary(min_size=1, max_size=300), max_size=20)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in pieces of those sizes, over and over."""
    out = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        out.append(data[at : at + size])
        at += size
        turn += 1
    return out


@given(chunks, st.lists(st.integers(1, 50), min_size=1, max_size=8), st.booleans())
def test_data_comes_out_whole_however_it_is_cut(data: list[bytes], sizes: list[int], ended: bool) -> None:
    stream = b"".join(wire.data_header(len(chunk)) + chunk for chunk in data) + (wire.END if ended else b"")
    reader = wire.FrameReader()
    out = b"".join(bytes(piece) for part in cut(stream, sizes) for piece in reader.feed(part))
    assert out == b"".join(data)
    assert reader.ended is ended


@given(st.binary(min_size=1, max_size=100), st.lists(st.integers(1, 10), min_size=1, max_size=4))
def test_random_bytes_never_do_more_than_break_the_rules(data: bytes, sizes: list[int]) -> None:
    whole, parts = wire.FrameReader(), wire.FrameReader()

    def feed(reader: wire.FrameReader, pieces: list[bytes]) -> tuple[bytes, bool]:
        out = b""
        try:
            for piece in pieces:
                out += b"".join(bytes(view) for view in reader.feed(piece))
        except wire.TunnelProtocolError:
            return out, False
        return out, True

    came, fine = feed(parts, cut(data, sizes))
    came_at_once, fine_at_once = feed(whole, [data])
    assert fine == fine_at_once
    if fine:
        assert came == came_at_once
        assert len(came) <= len(data)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_an_opening_survives(session: bytes, secret: bytes) -> None:
    opening = wire.Opening(session, secret)
    assert wire.Opening.decode(opening.encode()[2:]) == opening


@given(st.integers(0, 0xFFFF), st.text(max_size=400))
def test_an_answer_survives_without_what_could_harm_a_terminal(code: int, why: str) -> None:
    try:
        encoded = wire.Answer(code, why).encode()
    except ValueError:
        assert len(why.encode("utf-8", "replace")) > 900 or not why.isprintable()
        return
    answer = wire.Answer.decode(encoded[2:])
    assert answer.code == code
    assert answer.why == "".join(c for c in why[: wire.MAX_WHY] if c.isprintable())


@given(st.binary(max_size=wire.MAX_MESSAGE))
def test_random_messages_are_refused(message: bytes) -> None:
    with pytest.raises(wire.TunnelProtocolError):
        wire.Opening.decode(message)
    with pytest.raises(wire.TunnelProtocolError):
        wire.Answer.decode(message)


@given(st.integers(0, 0xFFFF))
def test_a_length_is_judged_before_its_bytes_are_awaited(size: int) -> None:
    async def read() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(size.to_bytes(2, "big") + bytes(min(size, wire.MAX_MESSAGE)))
        return await wire.read_message(reader)

    if 1 <= size <= wire.MAX_MESSAGE:
        assert len(asyncio.run(read())) == size
    else:
        with pytest.raises(wire.TunnelProtocolError):
            asyncio.run(read())
