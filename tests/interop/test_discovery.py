"""Unmodified clients that are told no relay: go's AutoRelay and js's relay discovery find ours by themselves."""

from collections.abc import Callable

import pytest

from .checks import ECHO_BYTES, exchanges_succeed
from .fleet import Fleet

pytestmark = pytest.mark.timeout(1800)  # the first test of a language builds its peer; single waits are far shorter


@pytest.mark.parametrize("language", ["go", "js"])
def test_a_client_finds_our_relay_by_itself(fleet: Fleet, need: Callable[..., None], language: str) -> None:
    need(language)
    address = fleet.relay_address("towpath")
    with fleet.discovering(language, address) as waiting:
        reserved = waiting.wait("reserved")
        assert address.endswith(f"/p2p/{reserved['relay']}")
        mark = waiting.mark()
        target = f"{address}/p2p-circuit/p2p/{waiting.wait('ready')['peer_id']}"
        with fleet.dialer(language, target, f"found-{language}", ECHO_BYTES) as calling:
            exchanges_succeed(calling, waiting, mark, f"found-{language}")


@pytest.mark.parametrize("language", ["go", "js"])
def test_a_client_finds_our_relay_in_the_public_dht(fleet: Fleet, need: Callable[..., None], language: str) -> None:
    """It begins with a node that grants no reservation; only the DHT there knows of the relay that does."""
    need(language)
    with fleet.public_relay("relay.max_reservations=0") as first:
        beginning = first.wait("ready")["listen"][0]
        with fleet.public_relay(bootstrap=beginning) as relay, fleet.discovering(language, beginning) as waiting:
            address = relay.wait("ready")["listen"][0]
            assert address.endswith(f"/p2p/{waiting.wait('reserved')['relay']}")
            mark = waiting.mark()
            target = f"{address}/p2p-circuit/p2p/{waiting.wait('ready')['peer_id']}"
            with fleet.dialer(language, target, f"dht-{language}", ECHO_BYTES) as calling:
                exchanges_succeed(calling, waiting, mark, f"dht-{language}")
