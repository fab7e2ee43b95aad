"""Every library as relay, dialer and listener: reserve, connect, echo 16 MiB, half-close both ways.

By default the 37 combinations in which towpath takes part; with TOWPATH_INTEROP_ALL=1 the 27 others too,
which check the foreign peers among themselves.
"""

import os
from collections.abc import Callable
from itertools import product

import pytest

from .checks import ECHO_BYTES, exchanges_succeed
from .fleet import FOREIGN, LANGUAGES, Fleet

pytestmark = pytest.mark.timeout(1800)  # the first test of a language builds its peer; single waits are far shorter

EVERY = os.environ.get("TOWPATH_INTEROP_ALL") == "1"


COMBINATIONS = [
    pytest.param(relay, dialer, listener, id=f"{dialer}-{relay}-{listener}")
    for relay, dialer, listener in product(LANGUAGES, repeat=3)
    if EVERY or "towpath" in (relay, dialer, listener)
]


@pytest.mark.parametrize(("relay", "dialer", "listener"), COMBINATIONS)
def test_a_dialer_and_a_listener_talk_through_a_relay(
    fleet: Fleet, need: Callable[..., None], relay: str, dialer: str, listener: str
) -> None:
    need(relay, dialer, listener)
    fleet.reservation(listener, relay)
    target = fleet.circuit_address(listener, relay)
    seed = f"{dialer}-{relay}-{listener}"
    waiting = fleet.listener(listener, relay)
    mark = waiting.mark()
    with fleet.dialer(dialer, target, seed, ECHO_BYTES, relay) as calling:
        exchanges_succeed(calling, waiting, mark, seed)
        if relay != "rust":
            assert not calling.wait("connected").get("limited")


@pytest.mark.parametrize("listener", FOREIGN)
def test_a_foreign_client_accepts_our_reservation(fleet: Fleet, need: Callable[..., None], listener: str) -> None:
    need(listener)
    said = fleet.reservation(listener, "towpath")
    address = fleet.relay_address("towpath")
    assert address.endswith(f"/p2p/{said['relay']}")
    assert any(each.startswith(address) for each in said["addrs"])
    assert not said.get("limit"), "an unlimited relay tells no limit"
    if listener != "rust":  # rust-libp2p's client does not look at the voucher
        assert said["voucher"]


@pytest.mark.parametrize("relay", FOREIGN)
def test_we_hold_a_reservation_at_a_foreign_relay(fleet: Fleet, need: Callable[..., None], relay: str) -> None:
    need(relay)
    said = fleet.reservation("towpath", relay)
    address = fleet.relay_address(relay)
    assert address.endswith(f"/p2p/{said['relay']}")
    assert any(each.startswith(address) for each in said["addrs"])
    assert said["limit"] == (relay == "rust")
    assert said["voucher"] == (relay != "rust")  # rust-libp2p's relay writes none
