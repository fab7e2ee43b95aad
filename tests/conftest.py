"""What every test shares: uvloop under async tests, Hypothesis profiles, and who may run beside whom."""

import asyncio
import os
from collections.abc import Callable, Mapping

import hypothesis
import pytest
import uvloop
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

# No deadlines: a shared machine stalls at any moment. The full form searches twenty times as long.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.register_profile("short", deadline=None, max_examples=100)
hypothesis.settings.register_profile("full", deadline=None, max_examples=2000)

# No node of a test looks for others on this machine's network, runs a DHT, or asks this machine's router for ports,
# unless its settings say so.
os.environ.setdefault("TOWPATH_DISCOVERY__MDNS", "false")
os.environ.setdefault("TOWPATH_DISCOVERY__DHT", "false")
os.environ.setdefault("TOWPATH_NETWORK__PORT_MAPPING", "false")

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


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


class _Schedule(LoadScopeScheduling):
    """One worker for the tests that start processes or use the network, one after the other.

    By folder, because the groups of xdist 3.8 need node ids that pytest 9.2 no longer lets it change.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "alone" if nodeid.startswith(_ALONE) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Schedule:
    return _Schedule(config, log)
