"""Our DHT beside go-libp2p's and js-libp2p's: records and providers that only a server of theirs holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.net.dht_speakers import Speaker, reactors, speaker
from towpath import addresses
from towpath.dht.messages import KAD
from towpath.discovery.shards import shard_key
from towpath.errors import DhtError

from .build import peer_command
from .process import Peer

pytestmark = pytest.mark.timeout(1800)  # the first test of a language builds its peer; single waits are far shorter


def server(language: str) -> list[str]:
    """The command of a server of our DHT."""
    if language == "js":
        node, program = peer_command("js")
        return [node, str(Path(program).with_name("kad.js")), KAD]
    return [*peer_command("go"), "dht", "--listen", "127.0.0.1", "--kad", KAD.removesuffix("/kad/1.0.0")]


@pytest.mark.parametrize("language", ["go", "js"])
async def test_what_a_server_of_another_library_keeps_for_us_is_found(need: Callable[..., None], language: str) -> None:
    need(language)
    with Peer(f"{language} kad", server(language)) as other:
        ready = other.wait("ready")
        its_id = addresses.peer_id_to_bytes(ready["peer_id"])
        at = next(text for text in ready["addrs"] if "127.0.0.1" in text)
        async with reactors() as reactor, speaker(reactor, serve=False) as writer:
            await joined(writer, at)
            key, raw = writer.advertisement()
            assert await writer.dht.put(key, raw) == 1
            async with speaker(reactor) as provider, speaker(reactor, serve=False) as reader:
                await joined(provider, at)
                assert await provider.dht.provide(shard_key(5)) == 1
                await joined(reader, at)
                assert await reader.dht.get(key) == raw
                assert [peer for peer, _ in await reader.dht.providers(shard_key(5))] == [provider.endpoint.peer_id]
                assert its_id in {contact.peer_id for contact in reader.dht._known}
                # It found that the provider serves, and names it to others.
                assert await reader.dht.find_peer(provider.endpoint.peer_id) == provider.endpoint.addresses


async def joined(one: Speaker, at: str) -> None:
    """Joined at this address; a process may take long to begin."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(DhtError):
                if await one.dht.join([at]):
                    return
