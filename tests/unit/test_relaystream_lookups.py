"""Look-ups and records handed over on a control stream, between a relay and clients in one loop."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.control_pair import everything_said, relaying
from tests.unit.nodes import until
from towpath.client.relaying import request_reservation
from towpath.errors import TowpathError
from towpath.relaystream import answering, asking
from towpath.relaystream.answering import parts
from towpath.relaystream.asking import MAX_SHOWN, Asking, LookUpFailed
from towpath.relaystream.framing import MessageReader, frame
from towpath.relaystream.messages import (
    ControlProtocolError,
    Found,
    HandOver,
    Hello,
    LookUpPeer,
    LookUpRelays,
    Message,
    Taken,
    Unknown,
    decode,
    encode,
)
from towpath.relaystream.reasons import Answer

TARGET = b"\x00\x24\x08\x01\x12\x20" + bytes(32)


class Knows:
    """What a relay knows: a script for `Answers`."""

    def __init__(self) -> None:
        self.peers: dict[bytes, list[bytes]] = {TARGET: [b"where it is"]}
        self.known = [b"relay %d" % n for n in range(30)]
        self.failing = False
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0
        self.taken: list[tuple[bytes, bytes]] = []

    async def peer(self, peer_id: bytes) -> list[bytes]:
        self.asked += 1
        await self.open.wait()
        if self.failing:
            raise TowpathError("no DHT")
        return self.peers.get(peer_id, [])

    async def relays(self, most: int) -> list[bytes]:
        return self.known

    def receipts(self, payer: bytes, day: int) -> list[bytes]:
        return [b"receipt %d" % n for n in range(30)] if (payer, day) == (TARGET[-32:], 20_000) else []

    def take(self, peer_id: bytes, raw: bytes) -> Answer:
        self.taken.append((peer_id, raw))
        return Answer.OUTDATED if raw == b"old" else Answer.DONE


async def test_a_client_learns_what_the_relay_knows() -> None:
    async with relaying(lambda _: Knows()) as relay:
        session, control = await relay.attached()
        assert await control.look_up_peer(session, TARGET) == [b"where it is"]
        assert await control.look_up_peer(session, TARGET + b"x") == []
        found = await control.look_up_relays(session, 50)
        assert len(found) == 12
        assert len(await control.look_up_relays(session, 3)) == 3


async def test_a_node_shows_the_receipts_behind_what_it_told_and_no_others() -> None:
    async with relaying(lambda _: Knows()) as relay:
        session, control = await relay.attached()
        shown = await control.look_up_receipts(session, TARGET[-32:], 20_000)
        assert shown == [b"receipt %d" % n for n in range(MAX_SHOWN)]
        assert await control.look_up_receipts(session, TARGET[-32:], 20_001) == []
        assert await control.look_up_receipts(session, b"x" * 32, 20_000) == []


async def test_many_questions_find_their_answers() -> None:
    knows = Knows()
    knows.peers = {b"peer %d" % n: [b"record %d" % n] for n in range(4)}
    async with relaying(lambda _: knows) as relay:
        session, control = await relay.attached()
        asked = [control.look_up_peer(session, b"peer %d" % n) for n in range(4)]
        assert await asyncio.gather(*asked) == [[b"record %d" % n] for n in range(4)]


async def test_a_relay_without_answers_is_not_asked() -> None:
    async with relaying() as relay:
        session, control = await relay.attached()
        with pytest.raises(LookUpFailed, match="answers no look-ups"):
            await control.look_up_peer(session, TARGET)


async def test_a_relay_that_can_ask_nobody_says_so() -> None:
    knows = Knows()
    knows.failing = True
    async with relaying(lambda _: knows) as relay:
        session, control = await relay.attached()
        with pytest.raises(LookUpFailed, match="cannot look anything up") as failed:
            await control.look_up_peer(session, TARGET)
        assert failed.value.code == Answer.UNABLE


async def test_a_client_gets_no_more_look_ups_at_once_than_its_share() -> None:
    knows = Knows()
    knows.open.clear()
    async with relaying(lambda _: knows) as relay:
        session, control = await relay.attached()
        waiting = [asyncio.ensure_future(control.look_up_peer(session, TARGET)) for _ in range(answering.EACH)]
        await until(lambda: knows.asked == answering.EACH)
        with pytest.raises(LookUpFailed) as failed:
            await control.look_up_peer(session, TARGET)
        assert failed.value.code == Answer.BUSY
        knows.open.set()
        assert await asyncio.gather(*waiting) == [[b"where it is"]] * answering.EACH


async def test_a_client_that_asks_without_end_is_put_off_and_keeps_its_stream() -> None:
    async with relaying(lambda _: Knows()) as relay:
        session, control = await relay.attached()
        with pytest.raises(LookUpFailed) as failed:
            for _ in range(20):
                await control.look_up_peer(session, TARGET)
        assert failed.value.code == Answer.BUSY
        assert len(relay.side) == 1


async def test_look_ups_end_with_the_stream_of_whoever_asked() -> None:
    knows = Knows()
    knows.open.clear()
    async with relaying(lambda _: knows) as relay:
        session, control = await relay.attached()
        waiting = asyncio.ensure_future(control.look_up_peer(session, TARGET))
        await until(lambda: knows.asked == 1)
        session.close()
        with pytest.raises(LookUpFailed):
            await waiting
        assert relay.side._answering is not None
        await until(lambda: relay.side._answering._under_way == 0)  # type: ignore[union-attr]


async def test_a_record_is_taken_of_those_who_hold_a_reservation() -> None:
    knows = Knows()
    async with relaying(lambda _: knows) as relay:
        session, control = await relay.attached()
        with pytest.raises(LookUpFailed, match="no reservation") as failed:
            await control.hand_over(session, b"record")
        assert failed.value.code == Answer.NO_RESERVATION
        assert not knows.taken
        await request_reservation(session, control)
        await control.hand_over(session, b"record")
        assert knows.taken == [(relay.made[0].peer_id, b"record")]
        with pytest.raises(LookUpFailed, match="newer record"):
            await control.hand_over(session, b"old")


async def test_a_relay_that_does_not_speak_the_protocol_fails_at_once() -> None:
    async with relaying(lambda _: Knows()) as relay:
        session, control = await relay.client()
        relay.side.close()
        with pytest.raises(LookUpFailed):
            await control.look_up_peer(session, TARGET)


async def test_questions_to_a_relay_of_an_earlier_version_get_no_answer_and_no_error() -> None:
    async with relaying() as relay:
        stream = await relay.raw()
        for message in (Hello(1), LookUpPeer(1, TARGET), LookUpRelays(2, 3), HandOver(3, b"record")):
            stream.write(frame(encode(message)))
        stream.close_write()
        said = [decode(body) for body in MessageReader().feed(await everything_said(stream))]
        assert said == [Hello(1)]


# --- the client's side, without a stream --------------------------------------------------------------------------


async def asked(asker: Asking, *, most: int = 1) -> asyncio.Task[list[bytes]]:
    task = asyncio.ensure_future(asker.peer(TARGET) if most == 1 else asker.relays(most))
    await asyncio.sleep(0)
    return task


async def test_an_answer_comes_in_parts() -> None:
    sent: list[Message] = []
    asker = Asking(sent.append)
    task = await asked(asker, most=12)
    assert sent == [LookUpRelays(1, 12)]
    asker.heard(Found(1, (b"a", b"b"), more=True))
    assert asker.waiting
    asker.heard(Found(1, (b"c",)))
    assert await task == [b"a", b"b", b"c"]
    assert not asker.waiting


@pytest.mark.parametrize(
    "answer",
    [
        Found(2),
        Taken(1),
        Found(1, (b"r",) * 5),
        Found(1, more=True),
    ],
    ids=["nobody asked", "another kind", "too many", "an endless one"],
)
async def test_a_wrong_answer_breaks_the_protocol(answer: Found | Taken) -> None:
    asker = Asking(lambda message: None)
    task = await asked(asker)
    with pytest.raises(ControlProtocolError):
        asker.heard(answer)
    asker.ended("it broke the protocol")
    with pytest.raises(LookUpFailed):
        await task


async def test_the_answer_to_a_question_that_was_given_up_is_passed_over() -> None:
    asker = Asking(lambda message: None)
    task = await asked(asker)
    task.cancel()
    await asyncio.wait([task])
    asker.heard(Found(1, (b"r",), more=True))
    asker.heard(Found(1, (b"r",)))
    with pytest.raises(ControlProtocolError):
        asker.heard(Found(1))


async def test_no_more_questions_wait_than_are_allowed() -> None:
    asker = Asking(lambda message: None)
    tasks = [await asked(asker) for _ in range(asking.AT_ONCE)]
    with pytest.raises(LookUpFailed):
        await asker.peer(TARGET)
    asker.ended("over")
    assert all(isinstance(one, LookUpFailed) for one in await asyncio.gather(*tasks, return_exceptions=True))


# --- the relay's side, without a stream ---------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, 1000, 16384])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 12])
def test_an_answer_fits_into_the_room_that_there_is(count: int, room: int) -> None:
    records = [bytes((n,)) * 500 for n in range(count)]
    pieces = parts(3, records, Answer.DONE, room)
    said = [decode(body) for body in MessageReader().feed(b"".join(pieces))]
    assert all(isinstance(one, Found) for one in said)
    found = [one for one in said if isinstance(one, Found) and not isinstance(one, Unknown)]
    assert [one.more for one in found] == [True] * (len(found) - 1) + [False]
    got = [record for one in found for record in one.records]
    assert got == records[: len(got)]
    assert len(got) == min(count, room // 2 // 508)
