"""The fleet of peers, and what a missing toolchain means."""

import os
from collections.abc import Callable, Iterator

import pytest

from .build import ToolMissing, peer_command
from .fleet import FOREIGN, Fleet


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    started = Fleet()
    yield started
    assert started.close() == []


@pytest.fixture
def need() -> Callable[..., None]:
    """Builds the peers of the languages; without a toolchain the test is skipped, or fails in CI."""

    def build(*languages: str) -> None:
        for language in set(languages) & set(FOREIGN):
            try:
                peer_command(language)
            except ToolMissing as missing:
                if os.environ.get("CI") == "true":
                    pytest.fail(str(missing), pytrace=False)
                pytest.skip(str(missing))

    return build
