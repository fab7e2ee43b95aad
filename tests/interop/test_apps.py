"""The programs that docs/apps.md shows, as it shows them: each waits at our relay, and each greets each."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .apps import LANGUAGES, Waiting, command, excerpts, greeting
from .build import SOURCES
from .fleet import Fleet

pytestmark = pytest.mark.timeout(1800)  # the first test of a language builds its programs; single waits are far shorter

GRANT_SECONDS = 30.0


@pytest.fixture(scope="module")
def waiting(fleet: Fleet) -> Iterator[Callable[[str], str]]:
    """Where the program of a language waits, at our relay."""
    running: dict[str, Waiting] = {}
    addresses: dict[str, str] = {}

    def address(language: str) -> str:
        if language not in running:
            running[language] = Waiting([*command(language), "wait", fleet.relay_address("towpath"), language])
            addresses[language] = running[language].address()
            granted(fleet, addresses[language].rpartition("/")[2])
        return addresses[language]

    yield address
    for program in running.values():
        program.__exit__()


def granted(fleet: Fleet, peer: str) -> None:
    """Returns when our relay holds a reservation for the peer; the go program prints its address before that."""
    data = Path(fleet.relay("towpath").wait("ready")["api"]).parent
    asking = [sys.executable, "-m", "towpath", "reservations", "--data", str(data), "--full", "--json"]
    until = time.monotonic() + GRANT_SECONDS
    while time.monotonic() < until:
        rows = json.loads(subprocess.run(asking, capture_output=True, text=True, check=True).stdout)
        if any(row["peer"] == peer for row in rows):
            return
    pytest.fail(f"no reservation for {peer} in {GRANT_SECONDS:g} s")


@pytest.mark.parametrize("listener", LANGUAGES)
@pytest.mark.parametrize("dialer", LANGUAGES)
def test_the_programs_of_the_page_greet_each_other(
    waiting: Callable[[str], str], need: Callable[..., None], dialer: str, listener: str
) -> None:
    need(dialer, listener)
    address = waiting(listener)
    assert greeting([*command(dialer), "greet", address, dialer]) == f"hello {dialer}, this is {listener}"


def test_the_other_code_of_the_page_stands_in_the_peers() -> None:
    sources = [path.read_text() for path in SOURCES.rglob("*") if path.suffix in (".go", ".js", ".rs", ".py")]
    lines = {tuple(_bare(source)[at : at + 3]) for source in sources for at in range(len(_bare(source)))}
    shown = excerpts()
    assert shown
    for code in shown:
        bare = _bare(code)
        assert all(tuple(bare[at : at + 3]) in lines for at in range(len(bare) - 2)), code


def _bare(code: str) -> list[str]:
    return [line.strip() for line in code.splitlines() if line.strip()]
