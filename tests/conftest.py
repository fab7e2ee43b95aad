"""What every test shares: uvloop under async tests, Hypothesis profiles, and who may run beside whom."""

import asyncio
from collections.abc import Callable, Mapping

import hypothesis
import pytest
import uvloop

# No deadlines: a shared machine stalls at any moment. The full form searches twenty times as long.
hypothesis.settings.register_profile("short", deadline=None, max_examples=100)
hypothesis.settings.register_profile("full", deadline=None, max_examples=2000)

_ALONE = ("tests/net/", "tests/interop/")


def pytest_configure(config: pytest.Config) -> None:
    full = config.getoption("markexpr") == ""
    hypothesis.settings.load_profile("full" if full else "short")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps tests that use the network or whole processes on one worker, one after the other."""
    for item in items:
        if item.get_closest_marker("serial") or item.nodeid.startswith(_ALONE):
            item.add_marker(pytest.mark.xdist_group("serial"))
