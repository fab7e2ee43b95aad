"""What a node receives, decrypted: a library loaded into its process writes down every message that it opens.

It sees what the cipher gives, whatever the program around it does or says. `Witness.environment` goes to the process,
together with the settings `SETTINGS`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.tools import cache, require

_SOURCE: Final = Path(__file__).with_name("witness.c")
SETTINGS: Final = {"native.aead": "libsodium"}


@dataclass(frozen=True)
class Received:
    """One message."""

    sender: str
    """The address whose connection was read last; not its port."""
    port: int
    message: bytes


class Witness:
    """The messages that one node received, kept in `file`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.environment = {"LD_PRELOAD": str(_library()), "TOWPATH_TEST_WITNESS": str(file)}

    def received(self) -> Iterator[Received]:
        """All so far, in order."""
        # It is made with the first connection.
        data = self._file.read_bytes() if self._file.exists() else b""
        at = 0
        while at < len(data):
            length = data[at]
            sender, _, port = data[at + 1 : at + 1 + length].decode().partition(" ")
            at += 1 + length
            size = int.from_bytes(data[at : at + 4], "little")
            yield Received(sender, int(port or 0), data[at + 4 : at + 4 + size])
            at += 4 + size

    def connections(self) -> dict[tuple[str, int], bytes]:
        """What came over each connection, by the address and port of its other end."""
        found: dict[tuple[str, int], bytearray] = {}
        for received in self.received():
            found.setdefault((received.sender, received.port), bytearray()).extend(received.message)
        return {where: bytes(data) for where, data in found.items()}

    def holding(self, address: str) -> list[Received]:
        """Messages in which an IP address stands, in any form that the protocols have."""
        forms = forms_of(address)
        return [r for r in self.received() if any(form in r.message for form in forms)]


def forms_of(address: str) -> list[bytes]:
    """An IP address as text, and as a component of a multiaddr."""
    ip = ipaddress.ip_address(address)
    code = b"\x04" if ip.version == 4 else b"\x29"
    return [address.encode(), code + ip.packed]


def _library() -> Path:
    source = _SOURCE.read_bytes()
    built = cache() / f"witness-{hashlib.sha256(source).hexdigest()[:16]}.so"
    if not built.exists():
        unfinished = built.with_suffix(f".{os.getpid()}")
        flags = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
        subprocess.run([require("cc"), *flags, "-o", unfinished, _SOURCE, "-ldl"], check=True, capture_output=True)
        unfinished.rename(built)
    return built
