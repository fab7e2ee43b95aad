"""The DHT in its process: nodes on loopback that find each other's records, and processes that die."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest

from tests.net.dht_speakers import Speaker, joined, network, reactors, speaker
from tests.unit.nodes import descriptors, until
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath.client.relaying import open_stream
from towpath.dht.messages import KAD
from towpath.discovery.dht_process import DhtProcess
from towpath.discovery.shards import shard_key
from towpath.errors import DhtError, StreamReset
from towpath.stream import Stream

pytestmark = pytest.mark.slow


async def test_two_nodes_and_a_client_find_what_one_publishes() -> None:
    async with network(2) as (a, b), reactors() as reactor, speaker(reactor, serve=False) as client:
        key, raw = a.advertisement()
        assert await a.dht.put(key, raw) == 1
        assert await a.dht.provide(shard_key(7)) == 1
        assert await b.dht.get(key) == raw
        assert [peer for peer, _ in await b.dht.providers(shard_key(7), 20)] == [a.endpoint.peer_id]
        await joined(client, b)
        assert await client.dht.get(key) == raw
        assert await client.dht.providers(shard_key(7), 20) == [(a.endpoint.peer_id, a.endpoint.addresses)]
        assert await client.dht.find_peer(a.endpoint.peer_id) == a.endpoint.addresses
        assert await client.dht.get(b.advertisement()[0]) is None
        # Servers know one another, and nobody takes a client for a server.
        await until(lambda: (a.dht.size, b.dht.size, client.dht.size) == (1, 1, 2))
        with pytest.raises(DhtError, match="record"):
            await a.dht.put(b.advertisement()[0], raw)


async def test_many_nodes_find_whatever_any_of_them_publishes_also_when_half_of_them_have_died() -> None:
    async with network(9) as nodes:
        published = [node.advertisement() for node in nodes]
        # Each told all others: fewer than 20 are the closest to every key.
        assert (
            await asyncio.gather(*(node.dht.put(*one) for node, one in zip(nodes, published, strict=True))) == [8] * 9
        )
        assert await asyncio.gather(*(node.dht.provide(shard_key(n)) for n, node in enumerate(nodes))) == [8] * 9
        for n, node in enumerate(nodes):
            key, raw = published[-1 - n]
            assert await node.dht.get(key) == raw
            assert [peer for peer, _ in await node.dht.providers(shard_key(8 - n))] == [nodes[8 - n].endpoint.peer_id]
        newer, newest = nodes[0].advertisement(seq=2)
        await nodes[0].dht.put(newer, newest)
        assert [await node.dht.get(newer) for node in nodes] == [newest] * 9
        for node in nodes[:5]:
            await node.dht.stop()
            node.endpoint.close()
        for key, raw in [(newer, newest), *published[1:]]:
            assert await nodes[-1].dht.get(key) == raw
        # Through a cache alone, without any of those that it began with.
        async with reactors() as reactor, speaker(reactor, serve=False, cache=nodes[-1].dht.snapshot()) as late:
            async with asyncio.timeout(30):
                while await late.dht.get(newer) is None:  # noqa: ASYNC110 - nobody tells when it has looked round
                    await asyncio.sleep(0.1)


def kill(one: Speaker) -> None:
    process = one.dht._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)


async def test_a_killed_process_is_replaced_and_knows_what_was_known_and_published() -> None:
    async with network(2) as (a, b):
        key, raw = a.advertisement()
        await a.dht.put(key, raw)
        await a.dht.provide(shard_key(1))
        await until(lambda: a.dht.size == 1)
        before = descriptors()
        kill(a)
        kill(b)
        # A question put meanwhile waits for the new process.
        with contextlib.suppress(DhtError):
            await b.dht.get(key)
        await until(lambda: a.dht.restarts == b.dht.restarts == 1, 60)
        await until(lambda: a.dht.size == b.dht.size == 1, 60)
        assert [kind for kind, _ in a.told] == ["dht.ended"]

        async def found() -> bool:
            return await b.dht.get(key) == raw and len(await b.dht.providers(shard_key(1), 5)) == 1

        async with asyncio.timeout(60):
            while not await found():  # noqa: ASYNC110 - nobody tells when a process has looked round
                await asyncio.sleep(0.1)
        await until(lambda: descriptors() <= before, 10)


async def test_many_idle_streams_do_not_keep_a_server_from_answering() -> None:
    async with network(2) as (a, b), reactors() as reactor, speaker(reactor, serve=False) as client:
        session = await client.endpoint.dial("127.0.0.1", a.port, a.endpoint.peer_id)
        idle = [await open_stream(session, KAD) for _ in range(16)]
        for stream in idle[:8]:
            stream.write(b"\x20half of a")
        key, raw = b.advertisement()
        assert await b.dht.put(key, raw) == 1
        assert await b.dht.get(key) == raw
        assert not any(stream.was_reset for stream in idle)
        # One peer gets no more than its share.
        more = await open_stream(session, KAD)
        await more.wait_readable()
        assert more.was_reset


async def test_a_node_and_its_process_take_no_more_memory_than_promised() -> None:
    async with network(2) as (a, _):
        process = a.dht._process
        assert process is not None
        # 175 MiB for both; a relay at rest has 45.
        assert resident(process.pid) < (175 - 45) * 1024


async def test_a_flood_of_questions_costs_neither_memory_nor_the_answers_of_others() -> None:
    async with network(2) as (a, b), reactors() as reactor:
        process = a.dht._process
        assert process is not None
        began, used = time.monotonic(), processor_seconds(process.pid)
        floods = [asyncio.create_task(flood(reactor, a)) for _ in range(8)]
        try:
            waited = 0.0
            for seq in range(1, 11):
                key, raw = b.advertisement(seq)
                before = time.monotonic()
                assert await b.dht.put(key, raw) == 1
                assert await b.dht.get(key) == raw
                waited = max(waited, time.monotonic() - before)
                await asyncio.sleep(0.5)
        finally:
            for task in floods:
                task.cancel()
        counts = [count for count in await asyncio.gather(*floods) if count]
        took = processor_seconds(process.pid) - used
        print(
            f"{sum(counts)} questions of {len(counts)} peers in {time.monotonic() - began:.1f} s, {took:.1f} s of a "
            f"processor, {resident(process.pid) >> 10} MiB; others waited {waited:.2f} s at most"
        )
        assert resident(process.pid) < 120 * 1024
        assert not a.told
        assert a.dht._process is process


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """KiB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


async def flood(reactor: Reactor, at: Speaker) -> int:
    """Asks as fast as it may, on as many streams as it may; how many questions went out until it was cancelled."""
    endpoint = Endpoint(reactor, os.urandom(32))
    count = 0
    try:
        session = await endpoint.dial("127.0.0.1", at.port, at.endpoint.peer_id)
        streams = [Stream(await open_stream(session, KAD)) for _ in range(16)]

        async def ask(stream: Stream) -> None:
            nonlocal count
            with contextlib.suppress(StreamReset):
                while True:
                    stream.write(question(count))
                    await stream.drain()
                    await stream.read()
                    count += 1

        await asyncio.gather(*map(ask, streams))
    except asyncio.CancelledError:
        pass
    finally:
        endpoint.close()
        endpoint.abort()
    return count


def question(number: int) -> bytes:
    """One of kad-dht's, of the larger ones: FIND_NODE (4) and GET_PROVIDERS (3) for keys nobody has."""
    key = os.urandom(34)
    body = bytes([0x08, 4 if number % 2 else 3, 0x12, len(key)]) + key + bytes([0xFA, 0x07, 0xFF, 0x3F]) + bytes(8191)
    return (len(body) & 0x7F | 0x80).to_bytes() + (len(body) >> 7).to_bytes() + body


def children() -> set[str]:
    """The processes that this one has started."""
    return {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


async def test_a_start_that_is_given_up_leaves_nothing() -> None:
    process = DhtProcess(lambda message: None, lambda why: None)
    await asyncio.to_thread(int)
    before, others = descriptors(), children()
    starting = asyncio.ensure_future(process.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until(lambda: descriptors() == before and children() <= others)


async def test_without_py_libp2p_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    async with reactors() as reactor:
        with pytest.raises(OSError, match=r"pip install 'towpath\[dht\]'"):
            async with speaker(reactor):
                pass


async def test_a_stopped_dht_leaves_no_process_and_no_descriptor() -> None:
    async with reactors() as reactor:
        async with speaker(reactor):
            pass
        before = descriptors()
        async with speaker(reactor) as one:
            assert one.dht.running
            pid = one.dht._process.pid if one.dht._process else 0
        assert not Path(f"/proc/{pid}").exists()
        assert descriptors() == before
        with pytest.raises(DhtError, match="stopped"):
            await one.dht.get(one.advertisement()[0])
