"""The control stream's parser, fed with anything: it takes exactly what has one encoding and is within its bounds."""

from __future__ import annotations

from fuzz.python.control_message import check
from hypothesis import given
from hypothesis import strategies as st

from tests.property.control_messages import maps, messages, words
from towpath import cbor
from towpath.relaystream.framing import MessageReader, Pace, frame
from towpath.relaystream.messages import MAX_MESSAGE, ControlProtocolError, Message, decode, encode
from towpath.relaystream.reasons import in_words, moving_sentence, refusal_sentence
from towpath.relaystream.relay import _coarse


@given(messages)
def test_a_message_survives_and_is_small(message: Message) -> None:
    body = encode(message)
    assert len(body) <= MAX_MESSAGE
    assert decode(body) == message


@given(messages, st.dictionaries(words, st.integers(0, 9) | st.binary(max_size=9), max_size=4))
def test_what_a_later_version_adds_changes_nothing(message: Message, more: dict[str, cbor.Value]) -> None:
    fields = cbor.decode(encode(message))
    assert isinstance(fields, dict)
    known = set(type(message).__struct_fields__) | {"t"}
    added = {key: value for key, value in more.items() if key not in known}
    assert decode(cbor.encode(fields | added)) == message


@given(maps)
def test_any_map_is_a_message_or_refused(fields: dict[str, cbor.Value]) -> None:
    check(cbor.encode(fields))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    check(data)


@given(messages, st.integers(0, 400), st.integers(0, 255))
def test_a_changed_message_is_a_message_or_refused(message: Message, at: int, byte: int) -> None:
    body = bytearray(encode(message))
    body[at % len(body)] = byte
    check(bytes(body))


@given(st.lists(messages, max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_messages_are_cut_out_of_any_pieces(sent: list[Message], sizes: list[int]) -> None:
    stream = b"".join(frame(encode(message)) for message in sent)
    reader = MessageReader()
    heard: list[bytes] = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        heard += reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert [decode(body) for body in heard] == sent
    assert not reader.unfinished


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20))
def test_a_reader_keeps_one_unfinished_message_at_most(pieces: list[bytes]) -> None:
    reader = MessageReader()
    came = 0
    try:
        for piece in pieces:
            came += sum(len(body) + 2 for body in reader.feed(piece))
            assert len(reader._part) <= MAX_MESSAGE + 1
    except ControlProtocolError:
        return
    assert came + len(reader._part) == sum(map(len, pieces))


@given(st.floats(1, 100), st.floats(0.1, 50), st.lists(st.floats(0, 10), max_size=60))
def test_no_more_pass_than_a_burst_and_the_rate(burst: float, per_s: float, gaps: list[float]) -> None:
    pace = Pace(burst, per_s)
    now, passed = 1000.0, 0
    for gap in gaps:
        now += gap
        passed += pace.take(now)
    assert passed <= burst + (now - 1000.0) * per_s + 1e-6
    assert pace.take(now + burst / per_s + 1e-6)


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_what_is_told_to_be_left_is_never_more_than_there_is_and_a_hundredth_less_at_most(
    left: int, limit: int
) -> None:
    left = min(left, limit)
    assert max(0, left - max(1, limit // 100)) <= _coarse(left, limit) <= left


@given(messages)
def test_whatever_a_relay_says_can_be_put_into_words(message: Message) -> None:
    for text in (words_for(message), in_words(0)):
        assert text.isprintable()


def words_for(message: Message) -> str:
    match type(message).__name__:
        case "Refused":
            return refusal_sentence(message)  # type: ignore[arg-type]
        case "Moving":
            return moving_sentence(message)  # type: ignore[arg-type]
        case _:
            return repr(type(message).__name__)
