"""The owner's events: remembered, followed, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from towpath.events import KEPT, Event, EventHub


async def take(events: AsyncIterator[Event], n: int) -> list[Event]:
    return [await anext(events) for _ in range(n)]


async def test_everybody_who_follows_hears_everything_from_then_on() -> None:
    hub = EventHub()
    hub.publish("before", "nobody listens yet")
    first, second = hub.subscribe(), hub.subscribe()
    heard = [asyncio.ensure_future(take(one, 2)) for one in (first, second)]
    await asyncio.sleep(0)
    hub.publish("one", "the first", size=1)
    hub.publish("two", "the second")
    for events in await asyncio.gather(*heard):
        assert [event["kind"] for event in events] == ["one", "two"]
        assert (events[0]["sentence"], events[0]["size"]) == ("the first", 1)
        assert events[0]["at"] <= events[1]["at"]
    assert [event["kind"] for event in hub.recent()] == ["before", "one", "two"]
    assert [event["kind"] for event in hub.recent(1)] == ["two"]
    assert hub.recent(0) == []


async def test_who_reads_too_slowly_loses_the_oldest_and_is_told_how_many() -> None:
    hub = EventHub()
    events = hub.subscribe()
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    for n in range(KEPT + 11):
        hub.publish("tick", "one more", n=n)
    first = await waiting
    rest = await take(events, KEPT)
    assert (first["kind"], first["missed"]) == ("missed", 11)
    assert [event["n"] for event in rest] == list(range(11, KEPT + 11))
    assert first["id"] == rest[0]["id"] - 1
    assert len(hub.recent()) == KEPT


async def test_who_comes_back_hears_what_is_remembered_since_once() -> None:
    hub = EventHub()
    for n in range(5):
        hub.publish("tick", "one more", n=n)
    third = hub.recent()[2]["id"]
    events = hub.subscribe(after=third)
    assert [event["n"] for event in await take(events, 2)] == [3, 4]
    hub.publish("tick", "one more", n=5)
    assert (await anext(events))["n"] == 5


async def test_who_stops_following_is_forgotten() -> None:
    hub = EventHub()
    events = hub.subscribe()
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    assert len(hub._followers) == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not hub._followers


async def test_whoever_records_gets_each_event_with_its_facts() -> None:
    kept: list[tuple[str, str, dict[str, Any]]] = []
    hub = EventHub(lambda kind, sentence, facts: kept.append((kind, sentence, facts)))
    hub.publish("one", "the first", size=1)
    assert kept == [("one", "the first", {"size": 1})]
