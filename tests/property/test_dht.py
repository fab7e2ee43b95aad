"""Whatever peers send or however often they ask: what a DHT process reads and grants stays within its bounds."""

from __future__ import annotations

import msgspec
import trio
from fuzz.python.dht_request import check, seeds
from hypothesis import given
from hypothesis import strategies as st

from towpath.dht import messages
from towpath.dht.serving import ALL_BURST, ALL_RATE, PEER_BURST, PEER_RATE, Pace
from towpath.dht.streams import MAX_REQUEST, Buffered, ProtocolError, frame, read_message, without_seals
from towpath.packets import encode


class Pieces:
    """A stream that brings these."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    async def receive_some(self, most: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._pieces.pop(0) if self._pieces else b""


async def read_all(pieces: list[bytes], most: int) -> tuple[list[bytes], bool]:
    source = Buffered(Pieces(pieces))  # type: ignore[arg-type]
    found = []
    try:
        while (message := await read_message(source, most, 5)) is not None:
            found.append(message)
    except ProtocolError:
        return found, False
    return found, True


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_messages_come_out_as_they_went_in_however_they_are_cut(sent: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(frame(message) for message in sent)
    pieces = []
    while whole:
        at = data.draw(st.integers(1, len(whole)))
        pieces.append(whole[:at])
        whole = whole[at:]
    assert trio.run(read_all, pieces, 300) == (sent, True)


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_no_bytes_bring_a_message_over_the_limit(pieces: list[bytes]) -> None:
    found, _ = trio.run(read_all, pieces, 100)
    assert all(len(message) <= 100 for message in found)


@given(st.binary(max_size=MAX_REQUEST))
def test_what_is_no_message_is_refused_as_such(data: bytes) -> None:
    try:
        plain = without_seals(data)
    except ProtocolError:
        return
    assert without_seals(plain) == plain


@given(st.one_of(st.sampled_from(seeds()), st.binary(max_size=300)), st.data())
def test_no_message_of_a_peers_makes_the_server_fail(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    check(data[:at] + draw.draw(st.binary(max_size=8)) + data[at + draw.draw(st.integers(0, 8)) :])


@given(st.binary(max_size=400))
def test_what_is_no_message_of_the_processes_is_a_value_error(data: bytes) -> None:
    for decode in (messages.decode_from_child, messages.decode_from_node):
        try:
            message = decode(data)
        except ValueError:
            continue
        assert decode(encode(message)) == message


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.floats(0, 0.3)), max_size=200))
def test_nobody_gets_more_than_the_pace_and_who_asks_little_never_waits(asks: list[tuple[bytes, float]]) -> None:
    pace = Pace()
    now = 1000.0
    served: dict[bytes, list[float]] = {}
    for peer, gap in asks:
        now += gap
        served.setdefault(peer, []).append(now + pace.wait(peer, now))
    everything = sorted(at for times in served.values() for at in times)
    for times, rate, burst in [
        *((sorted(t), PEER_RATE, PEER_BURST) for t in served.values()),
        (everything, ALL_RATE, ALL_BURST),
    ]:
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + rate * (times[last] - times[first]) + 1.001
    quiet = Pace()
    assert all(quiet.wait(b"x", 1000.0 + step / PEER_RATE) < 1e-6 for step in range(500))


def test_a_packet_that_no_socket_would_take_is_refused() -> None:
    contact = messages.Contact(bytes(64), [bytes(160)] * 8)
    try:
        encode(messages.Table(1, [contact] * 128))
    except ValueError:
        return
    raise AssertionError(msgspec.msgpack.encode(contact))
