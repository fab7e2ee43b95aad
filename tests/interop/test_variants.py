"""Ways of meeting beside the matrix: over IPv6, without a relay, and with frames as large as the window."""

from collections.abc import Callable

import pytest

from .checks import ECHO_BYTES, exchanges_succeed
from .fleet import FOREIGN, LANGUAGES, Fleet

pytestmark = pytest.mark.timeout(1800)  # the first test of a language builds its peer; single waits are far shorter


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_of_a_kind_meet_at_our_relay_over_ipv6(fleet: Fleet, need: Callable[..., None], language: str) -> None:
    need(language)
    fleet.reservation(language, "towpath", "::1")
    waiting = fleet.listener(language, "towpath", "::1")
    mark = waiting.mark()
    seed = f"{language}-ipv6"
    with fleet.dialer(language, fleet.circuit_address(language, "towpath", "::1"), seed, ECHO_BYTES) as calling:
        exchanges_succeed(calling, waiting, mark, seed)


@pytest.mark.parametrize("listener", FOREIGN)
def test_we_reach_a_foreign_host_without_a_relay(fleet: Fleet, need: Callable[..., None], listener: str) -> None:
    need(listener)
    waiting = fleet.direct_listener(listener)
    target = waiting.wait("ready")["addrs"][0]
    mark = waiting.mark()
    seed = f"direct-{listener}"
    with fleet.dialer("towpath", target, seed, ECHO_BYTES) as calling:
        exchanges_succeed(calling, waiting, mark, seed)


# Not rust: it ends connections over frames of more than 1 MiB.
@pytest.mark.parametrize("listener", ["go", "js", "towpath"])
def test_a_frame_that_fills_the_window_passes_our_relay(fleet: Fleet, need: Callable[..., None], listener: str) -> None:
    need("js", listener)
    fleet.reservation(listener, "towpath")
    waiting = fleet.listener(listener, "towpath")
    mark = waiting.mark()
    seed = f"whole-{listener}"
    target = fleet.circuit_address(listener, "towpath")
    with fleet.dialer("js", target, seed, ECHO_BYTES, "towpath", "--whole") as calling:
        exchanges_succeed(calling, waiting, mark, seed)
