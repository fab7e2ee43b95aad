"""The relay's messages, read and written by towpath and by peerlab: they agree, and nothing malformed is believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.peerlab import circuit as pb
from tests.peerlab.protobuf import Field, message
from towpath._native import messages

PEER_IDS = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda digest: b"\x12\x20" + digest),
    st.binary(min_size=32, max_size=32).map(lambda key: b"\x00\x24\x08\x01\x12\x20" + key),
)
STATUSES = st.sampled_from([100, 200, 201, 202, 203, 204, 400, 401])
ADDRESSES = st.lists(st.binary(min_size=1, max_size=40), max_size=10)


@given(PEER_IDS)
def test_connects_agree(target: bytes) -> None:
    assert messages.hop_connect(target) == pb.connect_message(target)
    framed = messages.message_length(messages.hop_connect(target))
    assert framed is not None
    assert messages.read_hop(messages.hop_connect(target)[framed[0] :]).peer_id == target


@given(STATUSES, st.integers(0, 1 << 63), ADDRESSES, st.integers(1, 1 << 32), st.integers(1, 1 << 62))
def test_answers_agree(status: int, expires: int, addresses: list[bytes], duration: int, data: int) -> None:
    reservation: list[Field] = [(1, expires), *((2, address) for address in addresses)]
    told = messages.read_hop(
        message([(1, 2), (3, message(reservation)), (4, message([(1, duration), (2, data)])), (5, status)])
    )
    assert (told.type, told.status, told.expires_at) == (2, status, expires)
    assert told.addresses == addresses
    assert (told.limit_s, told.limit_data) == (duration, data)
    stop = messages.read_stop(message([(1, 1), (3, message([(1, duration)])), (4, status)]))
    assert (stop.type, stop.status, stop.limit_s, stop.limit_data) == (1, status, duration, None)


FIELDS = st.lists(
    st.tuples(st.integers(1, 20), st.one_of(st.integers(0, (1 << 64) - 1), st.binary(max_size=60))), max_size=8
)


@given(st.one_of(st.binary(max_size=200), FIELDS.map(message)))
def test_anything_is_a_message_or_a_value_error(data: bytes) -> None:
    for read in (messages.read_hop, messages.read_stop):
        try:
            told = read(data)
        except ValueError:
            continue
        assert told.peer_id is None or 2 <= len(told.peer_id) <= 44
        assert told.status is None or 0 <= told.status < 1 << 31
    try:
        framed = messages.message_length(data)
    except ValueError:
        return
    assert framed is None or framed[1] <= messages.MESSAGE_MAX


@given(st.binary(max_size=400))
def test_no_random_bytes_are_a_voucher(data: bytes) -> None:
    try:
        messages.read_voucher(data)
    except ValueError:
        return
    raise AssertionError("a voucher made of random bytes")
