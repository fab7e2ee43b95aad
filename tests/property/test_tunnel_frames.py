"""The tunnel's messages and frames, fed in every possible way."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.client.tunnel import wire
from towpath.identity import Identity

chunks = st.lists(st.binary(min_size=1, max_size=300), max_size=20)
offsets = st.integers(0, 2**63 - 1)
frames = st.one_of(
    st.binary(min_size=1, max_size=300).map(lambda data: (wire.Kind.DATA, data)),
    offsets.map(lambda offset: (wire.Kind.ACK, offset)),
    st.sampled_from([wire.Kind.END, wire.Kind.ABORT, wire.Kind.PROBE]).map(lambda kind: (kind, 0)),
)


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


def encoded(frame: tuple[wire.Kind, bytes | int]) -> bytes:
    kind, value = frame
    if isinstance(value, bytes):
        return wire.data_header(len(value)) + value
    return wire.ack(value) if kind == wire.Kind.ACK else bytes((kind, 0, 0, 0))


def joined(came: list[wire.Frame]) -> list[tuple[wire.Kind, bytes | int]]:
    """With the data of neighbours together."""
    out: list[tuple[wire.Kind, bytes | int]] = []
    for kind, value in came:
        if isinstance(value, memoryview):
            if out and isinstance(out[-1][1], bytes):
                out[-1] = (kind, out[-1][1] + value)
            else:
                out.append((kind, bytes(value)))
        else:
            out.append((kind, value))
    return out


@given(st.lists(frames, max_size=20), st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_frames_come_out_whole_however_they_are_cut(sent: list[tuple[wire.Kind, bytes]], sizes: list[int]) -> None:
    reader = wire.FrameReader()
    came = [frame for part in cut(b"".join(map(encoded, sent)), sizes) for frame in reader.feed(part)]
    assert joined(came) == joined([(k, memoryview(v) if isinstance(v, bytes) else v) for k, v in sent])


@given(st.binary(min_size=1, max_size=100), st.lists(st.integers(1, 10), min_size=1, max_size=4))
def test_random_bytes_never_do_more_than_break_the_rules(data: bytes, sizes: list[int]) -> None:
    def feed(pieces: list[bytes]) -> tuple[list[tuple[wire.Kind, bytes | int]], bool]:
        reader = wire.FrameReader()
        came: list[wire.Frame] = []
        try:
            for piece in pieces:
                came += reader.feed(piece)
        except wire.TunnelProtocolError:
            return joined(came), False
        return joined(came), True

    in_parts, fine = feed(cut(data, sizes))
    at_once, fine_at_once = feed([data])
    assert fine == fine_at_once
    if fine:
        assert in_parts == at_once
        assert sum(len(value) for _, value in at_once if isinstance(value, bytes)) <= len(data)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1), offsets, st.booleans())
def test_an_opening_survives(session: bytes, turn: int, received: int, begun: bool) -> None:
    opening = wire.Carry(session, turn, received, begun)
    assert wire.decode_opening(opening.encode()[2:]) == opening
    assert wire.decode_opening(wire.Follow().encode()[2:]) == wire.Follow()


@given(st.integers(0, 0xFFFF), st.text(max_size=400), offsets)
def test_an_answer_survives_without_what_could_harm_a_terminal(code: int, why: str, received: int) -> None:
    try:
        encoded = wire.Answer(code, why, received).encode()
    except ValueError:
        assert any("\ud800" <= c <= "\udfff" for c in why)
        return
    answer = wire.Answer.decode(encoded[2:])
    assert (answer.code, answer.received) == (code, received)
    assert answer.why == "".join(c for c in why[: wire.MAX_WHY] if c.isprintable())


@given(st.integers(0, 12))
def test_relays_survive_as_many_as_a_message_holds(many: int) -> None:
    relays = [f"/dns4/relay-{n}.example/tcp/4001/p2p/{Identity.generate().text}" for n in range(many)]
    assert wire.Relays.decode(wire.Relays.of(relays).encode()[2:]).relays == tuple(relays[: wire.MAX_RELAYS])


@given(st.binary(max_size=wire.MAX_MESSAGE))
def test_random_messages_are_refused(message: bytes) -> None:
    for read in (wire.decode_opening, wire.Answer.decode, wire.Relays.decode):
        with pytest.raises(wire.TunnelProtocolError):
            read(message)


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
