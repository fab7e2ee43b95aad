"""The control stream between relays and clients: what is told, to whom, and what becomes of those who misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.control_pair import NOW, Relaying, everything_said, relaying
from tests.unit.nodes import until
from towpath import cbor
from towpath._native.appstream import AppStream, open_stream
from towpath.client.relaying import request_circuit, request_reservation
from towpath.errors import RelayError
from towpath.relaystream import PROTOCOL, relay, stream
from towpath.relaystream.client import Leaving
from towpath.relaystream.framing import MessageReader, frame
from towpath.relaystream.messages import Allowance, Hello, Message, Moving, Period, Refused, Unknown, decode, encode
from towpath.relaystream.reasons import Reason, Request
from towpath.relaystream.relay import Facts, Quota

HELLO = frame(encode(Hello(1)))
TARGET = b"\x00\x24\x08\x01\x12\x20" + bytes(32)


@pytest.fixture
async def middle() -> AsyncIterator[Relaying]:
    async with relaying() as made:
        yield made


def said(data: bytes) -> list[Message | Unknown]:
    return [decode(body) for body in MessageReader().feed(data)]


# --- what is told ------------------------------------------------------------------------------------------------


async def test_a_first_refusal_is_explained_already(middle: Relaying) -> None:
    middle.refuses(Reason.RESERVATIONS_FULL, 128, 128)
    session, control = await middle.client()
    with pytest.raises(RelayError) as caught:
        await request_reservation(session, control)
    assert caught.value.status == 200
    assert caught.value.reason == "it holds 128 of 128 reservations; use another relay"
    assert str(caught.value) == f"the relay answered RESERVATION_REFUSED (200): {caught.value.reason}"


async def test_later_refusals_are_explained_by_their_own_reasons(middle: Relaying) -> None:
    session, control = await middle.client()
    for have in (16, 17, 18):
        middle.refuses(Reason.NETWORK_FULL, have, have)
        with pytest.raises(RelayError, match=f": {have} of {have} reservations that your network may have"):
            await request_reservation(session, control)
    assert session.stream_count <= 4


async def test_a_circuit_refused_is_explained_to_its_dialer(middle: Relaying) -> None:
    bob, bobs = await middle.client()
    await request_reservation(bob, bobs)
    alice, control = await middle.client()
    middle.refuses(Reason.PEER_FULL, 16, 16)
    with pytest.raises(RelayError, match="16 of 16 circuits that one of the two peers may have there are open"):
        await request_circuit(alice, middle.made[0].peer_id, control)
    assert control.reason(alice, Request.CONNECT, middle.made[0].peer_id) is None


async def test_a_refusal_without_a_reason_reads_as_before(middle: Relaying) -> None:
    session, control = await middle.client()
    middle.policy.refusing = lambda *_: None
    with pytest.raises(RelayError, match="it has no room or does not take us") as caught:
        await request_reservation(session, control)
    assert caught.value.reason is None
    with pytest.raises(RelayError, match="holds no reservation there"):
        await request_circuit(session, TARGET, control)


async def test_nothing_is_done_for_a_peer_without_a_stream(middle: Relaying, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(relay, "Refused", never)
    middle.refuses(Reason.DENIED)
    session, _ = await middle.client()
    with pytest.raises(RelayError, match="try another relay"):
        await request_reservation(session)
    assert len(middle.side) == 0


async def test_a_client_that_comes_is_told_what_is_left_and_that_the_relay_moves_out(middle: Relaying) -> None:
    middle.facts = Facts((Quota("day", 5_000_000, 4_321_987, NOW + 90.4),), 250_000)
    middle.side.moving_out(NOW + 60, Reason.PAUSED, NOW + 7200)
    client = await middle.raw()
    client.write(HELLO)
    client.close_write()
    assert said(await everything_said(client)) == [
        Hello(1),
        Allowance((Period("day", 5_000_000, 4_300_000, 90),), 250_000),
        Moving(code=Reason.PAUSED, after=60, again=7200),
    ]


async def test_everybody_is_told_that_the_relay_moves_out_and_that_it_stays(middle: Relaying) -> None:
    clients = [await middle.attached() for _ in range(40)]
    told: list[Leaving | None] = []
    clients[0][1].watch(middle.endpoint.peer_id, told.append)
    middle.side.moving_out(NOW + 60, Reason.STOPPING)
    await until(lambda: all(control.leaving(middle.endpoint.peer_id) for _, control in clients))
    middle.side.moving_out(NOW + 60, Reason.STOPPING)
    middle.side.staying()
    await until(lambda: not any(control.leaving(middle.endpoint.peer_id) for _, control in clients))
    middle.side.staying()
    assert [None if one is None else one.moving for one in told] == [Moving(code=Reason.STOPPING, after=60), None]
    clients[0][1].unwatch(middle.endpoint.peer_id, told.append)


async def test_only_the_last_word_reaches_those_who_have_not_heard_the_first(middle: Relaying) -> None:
    clients = [await middle.attached() for _ in range(relay._BATCH + 1)]
    middle.side.moving_out(None, Reason.QUOTA)
    middle.side.moving_out(NOW, Reason.STOPPING)
    middle.side.close()
    heard: list[list[Leaving | None]] = [[] for _ in clients]
    for (_, control), told in zip(clients, heard, strict=True):
        control.watch(middle.endpoint.peer_id, told.append)

    def codes() -> list[list[int]]:
        return [list(dict.fromkeys(one.moving.code for one in told if one is not None)) for told in heard]

    await until(lambda: len(middle.side) == 0 and all(each[-1:] == [Reason.STOPPING] for each in codes()))
    assert [Reason.QUOTA, Reason.STOPPING] in codes()
    assert [Reason.STOPPING] in codes()


async def test_an_allowance_is_told_when_it_has_changed_by_a_hundredth(middle: Relaying) -> None:
    session, control = await middle.attached()
    relay_id = middle.endpoint.peer_id
    middle.facts = Facts((Quota("hour", 1000, 999, NOW + 60),))
    middle.side.allowance()
    await until(lambda: control.allowance(relay_id) is not None)
    first = control.allowance(relay_id)
    assert first == Allowance((Period("hour", 1000, 990, 60),))
    middle.facts = Facts((Quota("hour", 1000, 991, NOW + 30),))
    middle.side.allowance()
    middle.side.refused(middle.made[0].peer_id, Request.RESERVE, Reason.RATE)
    await until(lambda: control.reason(session, Request.RESERVE) is not None)
    assert control.allowance(relay_id) is first
    middle.facts = Facts((Quota("hour", 1000, 989, NOW + 30),))
    middle.side.allowance()
    await until(lambda: control.allowance(relay_id) is not first)


async def test_a_relay_that_moves_out_explains_its_refusals_by_that(middle: Relaying) -> None:
    session, control = await middle.client()
    middle.policy.refusing = lambda *_: None
    middle.side.moving_out(NOW, Reason.PAUSED, NOW + 7300)
    with pytest.raises(
        RelayError, match="its owner paused it, and ends what is open now, and is back in 3 h; use anot"
    ):
        await request_reservation(session, control)


async def test_a_stream_that_ends_after_the_relay_said_so_means_that_it_has_moved_out(middle: Relaying) -> None:
    session, control = await middle.attached()
    heard: list[Leaving | None] = []
    control.watch(middle.endpoint.peer_id, heard.append)
    middle.side.moving_out(NOW + 60, Reason.MODE)
    middle.side.close()
    await until(lambda: len(heard) == 2)
    assert [one.moving.after for one in heard if one is not None] == [60, 0]
    assert not session.closed


# --- one stream a peer, as long as it is of use ------------------------------------------------------------------


async def test_attaching_again_opens_nothing(middle: Relaying) -> None:
    session, control = await middle.attached()
    streams = session.stream_count
    control.attach(session)
    assert session.stream_count == streams


async def test_a_new_connection_takes_the_streams_place(middle: Relaying) -> None:
    first, control = await middle.attached()
    await until(lambda: first.stream_count == 1)
    second = await middle.made[0].dial("127.0.0.1", middle.port, middle.endpoint.peer_id)
    await until(lambda: second.protocols is not None)
    control.attach(second)
    await until(lambda: first.stream_count == 0)
    middle.side.moving_out(NOW, Reason.MODE)
    await until(lambda: control.leaving(middle.endpoint.peer_id) is not None)
    assert len(middle.side) == 1


async def test_the_newest_of_a_peers_streams_stays(middle: Relaying) -> None:
    session, control = await middle.attached()
    opened = open_stream(session, PROTOCOL)
    assert opened is not None
    assert await opened[1]
    opened[0].write(HELLO)
    middle.side.moving_out(NOW, Reason.MODE)
    await until(lambda: opened[0].available > len(HELLO))
    assert control.leaving(middle.endpoint.peer_id) is None
    assert len(middle.side) == 1


async def test_a_peer_that_does_not_list_the_protocol_never_sees_it(middle: Relaying) -> None:
    middle.side.close()
    session, control = await middle.client()
    control.attach(session)
    assert session.stream_count == 0
    assert PROTOCOL not in (session.protocols or ())
    assert await request_reservation(session, control)


async def test_both_sides_forget_a_stream_with_its_connection(middle: Relaying) -> None:
    session, control = await middle.attached()
    middle.side.moving_out(NOW, Reason.MODE)
    await until(lambda: control.leaving(middle.endpoint.peer_id) is not None)
    session.abort()
    await until(lambda: len(middle.side) == 0)
    await until(lambda: control.leaving(middle.endpoint.peer_id) is None)


async def test_a_stream_without_a_purpose_ends_on_the_clients_side(middle: Relaying) -> None:
    session, control = await middle.attached()
    await until(lambda: session.stream_count == 1)
    await request_reservation(session, control)
    control.leave(session)
    await until(lambda: session.stream_count == 0)
    await until(lambda: len(middle.side) == 0)


async def test_a_stream_without_a_purpose_ends_on_the_relays_side(
    middle: Relaying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_LOOK_S", 0.02)
    idle = await middle.raw()
    idle.write(HELLO)
    session, control = await middle.client()
    await request_reservation(session, control)
    await until(lambda: idle.was_reset)
    assert len(middle.side) == 1
    monkeypatch.setattr(relay, "_LOOK_S", 60.0)


@pytest.mark.parametrize("start", [b"", HELLO + b"\x00\x10", HELLO + b"\x00"], ids=["no-greeting", "half", "length"])
async def test_who_does_not_go_on_loses_the_stream(
    middle: Relaying, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(relay, "_LOOK_S", 0.02)
    client = await middle.raw()
    await request_reservation(client.session)
    client.write(start)
    await until(lambda: client.was_reset)
    assert not client.session.closed


# --- the hostile -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\x00",
        b"\x20\x01",
        frame(b"\xff"),
        frame(encode(Moving(code=7))),
        HELLO + HELLO,
        HELLO + frame(encode(Allowance())),
        HELLO + frame(encode(Moving(code=7))),
        HELLO + frame(b"\xa1at\x00"),
        frame(cbor.encode({"t": 48})),
        HELLO + frame(cbor.encode({"t": 48})) * 32,
    ],
    ids=["empty", "large", "garbage", "no-greeting", "twice", "allowance", "moving", "type", "later-first", "too-fast"],
)
async def test_who_breaks_the_rules_loses_the_stream_and_nothing_else(middle: Relaying, said: bytes) -> None:
    client = await middle.raw()
    client.write(said)
    await until(lambda: client.was_reset)
    assert len(middle.side) == 0
    assert await request_reservation(client.session)


async def test_messages_of_later_versions_are_passed_over(middle: Relaying) -> None:
    client = await middle.raw()
    client.write(HELLO + frame(cbor.encode({"t": 48, "proof": b"x" * 8000})) * 31)
    middle.side.moving_out(NOW, Reason.MODE)
    client.close_write()
    heard = b""
    while not client.ended:
        await client.wait_readable()
        heard += client.read(65536)
    assert said(heard) == [Hello(1), Moving(code=Reason.MODE, after=0)]
    assert len(middle.side) == 0


async def test_a_client_that_asks_all_the_time_is_explained_to_now_and_then(middle: Relaying) -> None:
    client = await middle.raw()
    for _ in range(1000):
        middle.side.refused(middle.made[0].peer_id, Request.RESERVE, Reason.RATE)
    client.write(HELLO)
    client.close_write()
    assert 32 < len(said(await everything_said(client))) < 40


@pytest.mark.slow
async def test_a_client_that_does_not_read_loses_the_stream(middle: Relaying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_UNSENT_MAX", 0)
    client = await middle.raw()
    client.write(HELLO)
    after = 0
    while len(middle.side):
        after += 1
        middle.side.moving_out(NOW + after % 1000, Reason.MODE)
        await asyncio.sleep(0)
    assert client.available < 262144 + 100
    assert not client.session.closed


async def test_a_relay_that_breaks_the_rules_loses_the_stream_and_nothing_else(middle: Relaying) -> None:
    middle.side.close()
    streams: list[AppStream] = []
    middle.endpoint.set_handler(PROTOCOL, streams.append)
    session, control = await middle.client()
    control.attach(session)
    await until(lambda: streams)
    streams[0].write(HELLO + frame(encode(Refused(request=0, code=1, again=60))))
    await until(lambda: control._seats and control._seats[middle.endpoint.peer_id].refusals)
    assert control.reason(session, Request.CONNECT) is None
    streams[0].write(frame(encode(Hello(1))))
    await until(lambda: streams[0].was_reset)
    assert control.reason(session, Request.RESERVE) is None
    control.attach(session)
    await until(lambda: len(streams) == 2)
    assert await request_reservation(session, control)


async def test_a_relay_that_refuses_the_protocol_it_lists_is_left_in_peace(middle: Relaying) -> None:
    session, control = await middle.client()
    middle.side.close()
    control.attach(session)
    await until(lambda: session.stream_count == 0)
    assert await request_reservation(session, control)
