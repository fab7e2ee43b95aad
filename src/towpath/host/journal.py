"""Writes to systemd's journal in its native protocol (systemd.journal-fields(7)): one datagram an entry, with fields.

Sending never blocks. An entry that a busy journal cannot take is lost and counted; one that it will not take (too
large, no socket there) goes to the stream that the service manager watches, with a priority before each line.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from typing import Final, TextIO

__all__ = ["PRIORITIES", "Journal", "connected", "entry", "prefixed"]

SOCKET: Final = "/run/systemd/journal/socket"
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def connected(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Does what is written to `stream` arrive in the journal (JOURNAL_STREAM: device and inode of its socket)?"""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def entry(message: str, priority: int, fields: Mapping[str, object]) -> bytes:
    """An entry in the protocol's form; `fields` become TOWPATH_NAME."""
    named = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "towpath"}
    named |= {"TOWPATH_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())[:56]: str(v) for name, v in fields.items()}
    return b"".join(_field(name, value) for name, value in named.items())


def prefixed(message: str, priority: int) -> str:
    """A message with its priority before each line, as the journal reads a service's output."""
    return "".join(f"<{priority}>{line}\n" for line in message.splitlines())


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" in data:
        return b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
    return b"%b=%b\n" % (name.encode(), data)


class Journal:
    """Where entries go. `stream` is the one that `connected` found."""

    def __init__(self, stream: TextIO, path: str = SOCKET) -> None:
        self._stream: Final = stream
        self._path: Final = path
        self._lost = 0

    def write(self, message: str, level: str, fields: Mapping[str, object]) -> None:
        """Sends an entry of a level (`PRIORITIES`)."""
        if self._lost:
            lost, self._lost = self._lost, 0
            self._send(f"{lost} messages before this one were lost: the journal was busy", PRIORITIES["warning"], {})
        self._send(message, PRIORITIES.get(level, PRIORITIES["info"]), fields)

    def _send(self, message: str, priority: int, fields: Mapping[str, object]) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(entry(message, priority, fields), self._path)
        except BlockingIOError:
            self._lost += 1
        except OSError:
            self._stream.write(prefixed(message, priority))
            self._stream.flush()
