"""What the log hides, and how it is written."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
import structlog

from tests.unit.test_notify import fill
from towpath.host import journal
from towpath.log import configure, get_logger, hide_addresses, short_peer_id
from towpath.settings import Settings

PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from 203.0.113.7:4001", "from <hidden>:4001"),
        ("/ip4/203.0.113.7/tcp/4001", "/ip4/<hidden>/tcp/4001"),
        ("/ip6/2001:db8::1/tcp/1", "/ip6/<hidden>/tcp/1"),
        ("[2001:db8::1]:80", "[<hidden>]:80"),
        ("fe80::1", "<hidden>"),
        ("/dns4/relay.example.org/tcp/1/p2p/x", "/dns4/<hidden>/tcp/1/p2p/x"),
        ("/dnsaddr/example.org", "/dnsaddr/<hidden>"),
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


def test_nothing_that_is_logged_shows_an_address_whatever_it_is_in() -> None:
    out = io.StringIO()
    configure(Settings.load({"log.format": "json"}, environ={}).log, out)
    logger = get_logger("part")
    where = {"at": ("203.0.113.7", {"deeper": ["2001:db8::1"]}), "n": 1, "none": None}
    logger.info("event", where=where, error=OSError(f"203.0.113.7 said {PEER}"), raw=b"203.0.113.7")
    logging.getLogger("library").warning("cannot reach %s", "203.0.113.7")
    assert "203.0.113" not in out.getvalue()
    assert "db8" not in out.getvalue()
    assert PEER not in out.getvalue()
    event, library = map(json.loads, out.getvalue().splitlines())
    assert event["where"] == {"at": ["<hidden>", {"deeper": ["<hidden>"]}], "n": 1, "none": None}
    assert event["error"] == "<hidden> said …AJU5SA"
    assert (library["event"], library["component"]) == ("library.message", "library")
    assert library["message"] == "cannot reach <hidden>"


def test_a_librarys_levels_are_ours_and_its_traces_come_along() -> None:
    out = io.StringIO()
    log = Settings.load({"log.format": "json"}, environ={}).log
    configure(log, out)
    configure(log, out)
    logging.getLogger("library").info("not worth telling")
    logging.getLogger("library").log(35, "between levels")
    try:
        raise ValueError("what")
    except ValueError:
        logging.getLogger("library").exception("failed")
    between, failed = map(json.loads, out.getvalue().splitlines())
    assert between["level"] == "warning"
    assert "ValueError: what" in failed["exception"]


def test_settings_may_change_while_loggers_are_held() -> None:
    out = io.StringIO()
    logger = get_logger("part")
    for level, address in (("warning", False), ("debug", False), ("debug", True), ("error", True)):
        values = {"log.level": level, "log.addresses": address, "log.format": "json"}
        configure(Settings.load(values, environ={}).log, out)
        logger.debug("event", at="203.0.113.7")
    assert [json.loads(line)["at"] for line in out.getvalue().splitlines()] == ["<hidden>", "203.0.113.7"]


# --- the journal ---


class Journald:
    """A journal's socket, and a stream that leads to it as systemd's would."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self._ours, theirs = socket.socketpair()
        self.stream: TextIO = theirs.makefile("w", encoding="utf-8")
        theirs.close()
        found = os.fstat(self.stream.fileno())
        self.environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}

    def next(self) -> dict[str, str]:
        """The fields of the next entry."""
        left, fields = self._socket.recv(1 << 20), {}
        while left:
            name, _, left = left.partition(b"\n")
            if b"=" in name:
                name, _, value = name.partition(b"=")
            else:
                size = int.from_bytes(left[:8], "little")
                value, left = left[8 : 8 + size], left[8 + size + 1 :]
            fields[name.decode()] = value.decode()
        return fields

    def empty(self) -> bool:
        """Is there no entry?"""
        try:
            self._socket.recv(1)
        except BlockingIOError:
            return True
        return False

    def written(self) -> str:
        """What was written to the stream instead."""
        return self._ours.recv(1 << 20).decode()

    def close(self) -> None:
        self.stream.close()
        self._ours.close()
        self._socket.close()


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journald]:
    found = Journald(tmp_path)
    monkeypatch.setattr(journal.Journal.__init__, "__defaults__", (str(found.path),))
    yield found
    found.close()


def to_journal(journald: Journald, **settings: object) -> None:
    """Configures the log for a stream that leads to the journal."""
    log = Settings.load({f"log.{k}": v for k, v in settings.items()}, environ={}).log
    configure(log, journald.stream, journald.environ)


def test_a_stream_that_leads_to_the_journal_is_not_used_but_the_journal(journald: Journald) -> None:
    to_journal(journald)
    logger = get_logger("part")
    logger.warning("event", peer=PEER, at=["203.0.113.7"], n=7)
    assert journald.next() == {
        "MESSAGE": "part: event peer=…AJU5SA at=['<hidden>'] n=7",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "towpath",
        "TOWPATH_EVENT": "event",
        "TOWPATH_COMPONENT": "part",
        "TOWPATH_PEER": "…AJU5SA",
        "TOWPATH_AT": "['<hidden>']",
        "TOWPATH_N": "7",
    }
    try:
        raise ValueError("203.0.113.7\ndid it")
    except ValueError:
        logger.exception("failed")
    failed = journald.next()
    assert failed["PRIORITY"] == "3"
    assert failed["MESSAGE"].startswith("part: failed\nTraceback")
    assert failed["MESSAGE"].endswith("ValueError: <hidden>\ndid it")
    assert failed["TOWPATH_EXCEPTION"] in failed["MESSAGE"]
    logger.debug("fine")
    assert journald.empty()


def test_other_formats_and_other_streams_do_not_go_there(journald: Journald) -> None:
    to_journal(journald, format="json")
    get_logger("part").info("event")
    assert json.loads(journald.written())["event"] == "event"
    journald.environ = {"JOURNAL_STREAM": "1:2"}
    to_journal(journald)
    get_logger("part").info("event")
    assert json.loads(journald.written())["event"] == "event"
    assert journald.empty()
    assert not journal.connected(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


def test_what_the_journal_does_not_take_goes_to_the_stream_with_its_priority(journald: Journald) -> None:
    to_journal(journald)
    os.unlink(journald.path)
    get_logger("part").error("event", text="two\nlines")
    assert journald.written() == "<3>part: event text=two\n<3>lines\n"


def test_a_busy_journal_holds_nobody_up_and_hears_of_what_it_missed(journald: Journald) -> None:
    to_journal(journald)
    logger = get_logger("part")
    fill(str(journald.path))
    logger.info("lost")
    logger.info("lost as well")
    while not journald.empty():
        pass
    logger.info("event")
    assert journald.next()["MESSAGE"].startswith("2 messages")
    assert journald.next()["TOWPATH_EVENT"] == "event"


def test_a_program_that_set_up_no_logging_keeps_its_stdout() -> None:
    code = (
        "from towpath.log import get_logger as g; g('x').info('small_talk'); g('x').warning('careful', at='192.0.2.1')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "careful" in done.stderr
    assert "component=x" in done.stderr
    assert "192.0.2.1" not in done.stderr
    assert "small_talk" not in done.stderr
