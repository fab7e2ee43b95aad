"""A client's questions under any answers: each ends once, with what was answered to it, and nothing piles up."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from towpath.relaystream.asking import AT_ONCE, MAX_PEER_RECORDS, Asking, LookUpFailed
from towpath.relaystream.messages import (
    MAX_ASKED,
    ControlProtocolError,
    Found,
    HandOver,
    LookUpPeer,
    LookUpRelays,
    Message,
    Taken,
)

_records = st.lists(st.binary(min_size=1, max_size=3), max_size=7).map(tuple)
_numbers = st.integers(1, 12)
steps = st.lists(
    st.one_of(
        st.sampled_from(("peer", "relays", "hand over", "give up")),
        st.builds(Found, _numbers, _records, st.booleans(), st.sampled_from((0, 0, 0, 1, 77))),
        st.builds(Taken, _numbers, st.sampled_from((0, 3))),
    ),
    max_size=40,
)


@given(steps)
def test_every_question_ends_once_with_its_own_answer(did: list[str | Found | Taken]) -> None:
    asyncio.run(live(did))


async def live(did: list[str | Found | Taken]) -> None:
    sent: list[Message] = []
    asker = Asking(sent.append)
    tasks: list[asyncio.Task[list[bytes] | None]] = []
    said: dict[int, list[bytes]] = {}
    for step in did:
        if isinstance(step, str):
            match step:
                case "peer":
                    tasks.append(asyncio.ensure_future(asker.peer(b"peer")))
                case "relays":
                    tasks.append(asyncio.ensure_future(asker.relays(99)))
                case "hand over":
                    tasks.append(asyncio.ensure_future(asker.hand_over(b"record")))
                case _:
                    for task in tasks[-1:]:
                        task.cancel()
            await asyncio.sleep(0)
            continue
        said.setdefault(step.id, []).extend(step.records if isinstance(step, Found) else ())
        try:
            asker.heard(step)
        except ControlProtocolError:
            break
        await asyncio.sleep(0)
        assert len(asker._open) <= AT_ONCE
        assert len(asker._stale) <= 4 * AT_ONCE
    asker.ended("the test is over")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not asker.waiting
    # No number is used twice, and each question that was sent is one of the tasks.
    numbers = [message.id for message in sent if isinstance(message, (LookUpPeer, LookUpRelays, HandOver))]
    assert len(set(numbers)) == len(sent) <= len(tasks)
    for result in results:
        if isinstance(result, list):
            assert len(result) <= max(MAX_ASKED, MAX_PEER_RECORDS)
            assert any(answer[: len(result)] == result for answer in said.values())
        else:
            assert result is None or isinstance(result, (LookUpFailed, asyncio.CancelledError))
