"""What the log hides, and how it is written."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from towpath.log import configure, get_logger, hide_addresses, short_peer_id
from towpath.settings import Settings

PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from 203.0.113.7:4001", "from <hidden>:4001"),
        ("/ip4/203.0.113.7/tcp/4001", "/ip4/<hidden>/tcp/4001"),
        ("/ip6/2001:db8::1/tcp/1", "/ip6/<hidden>/tcp/1"),
        ("[2001:db8::1]:80", "[<hidden>]:80"),
        ("fe80::1", "<hidden>"),
        ("::ffff:203.0.113.7", "<hidden>"),
        ("1:2:3:4:5:6:7:8", "<hidden>"),
        ("127.0.0.1:80 and ::1 and 0.0.0.0 and [::]:80", "127.0.0.1:80 and ::1 and 0.0.0.0 and [::]:80"),
        ("at 12:30:01 version 0.1.0, towpath.cli:main", "at 12:30:01 version 0.1.0, towpath.cli:main"),
    ],
)
def test_addresses_that_tell_something_are_hidden(text: str, shown: str) -> None:
    assert hide_addresses(text) == shown


def test_peer_ids_are_shortened_to_what_tells_them_apart() -> None:
    assert short_peer_id(PEER) == "…AJU5SA"
    assert short_peer_id("short") == "short"


def logged(**settings: object) -> list[str]:
    """The lines of three events."""
    out = io.StringIO()
    configure(Settings.load({f"log.{k}": v for k, v in settings.items()}, environ={}).log, out)
    logger = get_logger("part")
    logger.debug("fine", n=1)
    logger.info("event", peer=PEER, at=["203.0.113.7"], n=7)
    try:
        raise ValueError("203.0.113.7 did it")
    except ValueError:
        logger.exception("failed")
    return out.getvalue().splitlines()


def test_events_are_json_lines_with_stable_names() -> None:
    lines = [json.loads(line) for line in logged(format="json")]
    assert [line["event"] for line in lines] == ["event", "failed"]
    assert lines[0] | {"timestamp": ""} == {
        "event": "event",
        "component": "part",
        "level": "info",
        "peer": "…AJU5SA",
        "at": ["<hidden>"],
        "n": 7,
        "timestamp": "",
    }
    assert "ValueError: <hidden> did it" in lines[1]["exception"]


def test_what_is_no_terminal_gets_json() -> None:
    assert json.loads(logged(format="auto")[0])["event"] == "event"


def test_people_get_text() -> None:
    first = logged(format="text")[0]
    assert "event" in first
    assert "component=part" in first


def test_levels_and_addresses_follow_the_settings() -> None:
    assert json.loads(logged(format="json", level="debug")[0])["event"] == "fine"
    assert json.loads(logged(format="json", addresses=True)[0])["at"] == ["203.0.113.7"]
    assert [json.loads(line)["event"] for line in logged(format="json", level="error")] == ["failed"]


def test_logging_does_not_load_rich_and_leaves_it_to_be_loaded() -> None:
    code = (
        "import sys; from towpath.log import get_logger; get_logger('x');"
        "assert 'rich' not in sys.modules; import rich.console"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
