"""The light node that `share`, `open` and `ping` run for themselves: a client that listens nowhere.

It does so beside a running node too. Each share has an identity of its own in DIR/shares, so that its
ticket outlives restarts and two of them never stand at a relay under one id; `open` and `ping` go under the
peer id of the data directory, which is the one that `share --allow` of somebody else names.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from towpath import log
from towpath.cli.places import open_files
from towpath.control.client import ask
from towpath.errors import TowpathError
from towpath.settings import Settings

__all__ = ["MAX_RELAYS", "light_settings", "relay_hints", "run_until_stopped"]

MAX_RELAYS: Final = 8


def light_settings(data: Path, bootstrap: Sequence[str]) -> Settings:
    """The settings of a light node: those of `data`, without relaying or listening, and with more relays to know."""
    settings = Settings.load(data=data)
    known = [*bootstrap, *settings.discovery.bootstrap]
    log_level = settings.log.level if "log.level" in settings.given else "warning"
    light = settings.changed(
        {"relay.mode": "client", "network.listen": [], "discovery.bootstrap": known, "log.level": log_level}
    )
    log.configure(light.log)
    return light


def relay_hints(settings: Settings, data: Path) -> list[str]:
    """Relays to meet at, best first, none when none is known: those named, those in the settings, and those that the
    running node uses or is.
    """
    hints = list(settings.discovery.bootstrap)
    # Usually no node runs here, and then there is nothing to ask.
    with contextlib.suppress(TowpathError):
        status = ask(data, "/v1/status")
        hints += [address.partition("/p2p-circuit")[0] for address in status["circuit_addresses"]]
        hints += status["addresses"]
    return [hint for hint in dict.fromkeys(hints) if "/p2p/" in hint and not _elsewhere_useless(hint)][:MAX_RELAYS]


def _elsewhere_useless(hint: str) -> bool:
    return hint.startswith(("/ip4/0.0.0.0/", "/ip6/::/")) or "/p2p-circuit" in hint


def run_until_stopped(work: Coroutine[Any, Any, int]) -> int:
    """Runs `work` on uvloop until it returns its exit code, or until SIGINT or SIGTERM, which is 0."""
    open_files()

    async def main() -> int:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return 0

    return uvloop.run(main())
