"""What every test shares: uvloop under async tests, Hypothesis profiles, who may run beside whom, and what may stay."""

import asyncio
import gc
import os
import time
from collections.abc import Callable, Generator, Mapping

import hypothesis
import pytest
import uvloop
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

# No deadlines: a shared machine stalls at any moment. Quick tests search a tenth as long, the full form twenty times.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=10, stateful_step_count=20)
hypothesis.settings.register_profile("short", deadline=None, max_examples=100)
hypothesis.settings.register_profile("full", deadline=None, max_examples=2000)

# No node of a test looks for others on this machine's network, runs a DHT, or asks this machine's router for ports,
# unless its settings say so.
os.environ.setdefault("TOWPATH_DISCOVERY__MDNS", "false")
os.environ.setdefault("TOWPATH_DISCOVERY__DHT", "false")
os.environ.setdefault("TOWPATH_NETWORK__PORT_MAPPING", "false")

_OWN = ("tests/unit/", "tests/property/")
"""Tests that share nothing with others which could stay open."""
_MAY_STAY = 8
"""Descriptors that may be open behind a test and were not before: a module that was imported may keep some."""
_STAY_S = 10.0
_open_before = pytest.StashKey[int]()
_TOGETHER = ("tests/unit/test_simulator.py",)
"""Files whose tests look at the same results, which are slow to make."""
_ALONE = ("tests/net/", "tests/interop/", "tests/packaging/", "tests/web/", "tests/unit/test_cli_")


def pytest_configure(config: pytest.Config) -> None:
    full = config.getoption("markexpr") == ""
    chosen = config.getoption("--hypothesis-profile")
    hypothesis.settings.load_profile(chosen or ("full" if full else "short"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # They wait for processes of their own, which a machine used by others may not run for seconds: in a run of
    # everything they get a second try, which the summary names (docs/decisions/0015-second-try.md).
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        for item in items:
            if item.nodeid.startswith(_ALONE):
                item.add_marker(pytest.mark.flaky(reruns=1))


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    item.stash[_open_before] = _descriptors()
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if not item.nodeid.startswith(_OWN):
        return
    most = item.stash[_open_before] + _MAY_STAY
    if _descriptors() > most:
        gc.collect()
        until = time.monotonic() + _STAY_S
        while (left := _descriptors()) > most:
            if time.monotonic() > until:
                pytest.fail(f"{left - most + _MAY_STAY} descriptors stayed open behind it", pytrace=False)
            # A thread may be closing them.
            time.sleep(0.01)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


class _Schedule(LoadScopeScheduling):
    """One worker for the tests that start processes or use the network, one after the other.

    By folder, because the groups of xdist 3.8 need node ids that pytest 9.2 no longer lets it change.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_ALONE):
            return "alone"
        return nodeid.split("::", 1)[0] if nodeid.startswith(_TOGETHER) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Schedule:
    return _Schedule(config, log)
