"""`towpath run`: the node, in the foreground.

Written without the libraries of the other commands (their import costs more than the node itself): argparse
reads the options, plain prints tell what happens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from towpath import __version__, log
from towpath.cli.output import quantity
from towpath.cli.places import data_directory, locked, open_files, replace_file
from towpath.control.late import LateServer
from towpath.control.paths import READY_FILE, listen, socket_path
from towpath.errors import SettingsError, TowpathError
from towpath.host.notify import Manager
from towpath.node import Node
from towpath.settings import HostPort, RelayMode, Settings
from towpath.web.place import Place, open_place

__all__ = ["overrides", "run"]

DRAIN: Final = 5.0
"""Seconds that open circuits get after the first signal."""

_DOES: Final = {
    RelayMode.CLIENT_ONLY: "uses relays and relays for nobody",
    RelayMode.COOPERATIVE: "relays for others, within a volunteer's limits",
    RelayMode.DEDICATED_SERVER: "relays for others, as its only job",
}


def run(arguments: Sequence[str]) -> int:
    """Runs a node until it is told to stop; the exit code."""
    options = _parse(arguments)
    data = data_directory(options.data)
    taken = f"a node runs on {data} already, as process {{pid}}; stop it, or name another directory with --data DIR"
    with locked(data, taken):
        settings = Settings.load(overrides(options), data=data, source="--set")
        log.configure(settings.log)
        open_files()
        uvloop.run(_Run(settings, data, json_lines=options.json).run())
    return 0


class _Run:
    """One node from its start to its end."""

    def __init__(self, settings: Settings, data: Path, *, json_lines: bool) -> None:
        self._settings = settings
        self._data = data
        self._json = json_lines
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._held: list[str] = []
        self._on_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._socket = socket_path(data)
        self._manager = Manager.above(os.environ)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        node = Node(self._settings, data=self._data)
        try:
            await node.start()
        except OSError as e:
            raise TowpathError(e.strerror or str(e)) from e
        try:
            await self._serve(node)
        finally:
            await node.close()
            self._remove_traces()

    async def _serve(self, node: Node) -> None:
        sock = listen(self._socket)
        metrics = _metrics_socket(self._settings)
        page = self._page(node)
        # Before anybody knows of the node: unhandled, a terminal that closes would kill it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hung_up, node)
        self._announce(node, metrics, page)
        api = LateServer(node, sock, metrics, self._unanswered, page)
        api.start()
        node.on_settings("log.", lambda settings: log.configure(settings.log))
        node.on_settings("metrics.", lambda settings: self._move_metrics(node, api, settings))
        try:
            node.on_relays_changed(lambda: self._relays_changed(node))
            self._manager.ready(lambda: _in_a_line(node.status()))
            await self._stop.wait()
            self._manager.stopping()
            self._say("stopping", f"Stopping: open circuits get up to {DRAIN:.0f} s.")
            await node.drain(DRAIN)
        finally:
            await api.stop()
        if self._failure is not None:
            raise self._failure

    def _unanswered(self, error: BaseException) -> None:
        """A node that nobody can ask or stop is of no use."""
        self._failure = error
        self._stop.set()

    def _move_metrics(self, node: Node, api: LateServer, settings: Settings) -> None:
        if settings.metrics.listen == self._settings.metrics.listen:
            return
        self._settings = settings
        try:
            api.move_metrics(_metrics_socket(settings))
        except TowpathError as e:
            node.events.publish("metrics_not_served", str(e))
            log.get_logger("settings").warning("metrics.not_served", reason=str(e))

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._remove_traces()
            os._exit(1)
        self._stop.set()

    def _hung_up(self, node: Node) -> None:
        """SIGHUP reads the settings again; but one that comes because the terminal was closed ends the node."""
        if self._on_terminal and not sys.stdin.isatty():
            self._stop.set()
        elif self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload(node))

    async def _reload(self, node: Node) -> None:
        logger = log.get_logger("settings")
        with self._manager.reloading():
            try:
                became = await node.reload_settings()
            except (TowpathError, OSError) as e:
                node.events.publish("settings_not_reloaded", f"config.toml was not taken up: {e}")
                logger.error("settings.not_reloaded", reason=str(e), note="everything is as before")
            else:
                logger.info("settings.reloaded", **became)

    def _page(self, node: Node) -> Place | None:
        try:
            return open_place(self._settings, self._data)
        except TowpathError as e:
            if self._settings.source("web.listen") != "default":
                raise
            # Nobody asked for it, and relaying is worth more.
            node.events.publish("page_not_served", str(e))
            log.get_logger("settings").warning("page.not_served", reason=str(e))
            return None

    def _announce(self, node: Node, metrics: socket.socket | None, page: Place | None) -> None:
        ready = {
            "event": "ready",
            "peer_id": node.peer_id,
            "relay_id": node.relay_id,
            "listen": node.listen_addresses,
            "api": str(self._socket),
            "web": None if page is None else page.url,
            "metrics": None if metrics is None else f"http://{HostPort(*metrics.getsockname()[:2])}/metrics",
            "pid": os.getpid(),
        }
        replace_file(self._data / READY_FILE, ready)
        if self._json:
            print(json.dumps(ready), flush=True)
        else:
            print(_greeting(self._settings, self._data, node, page), flush=True)
        logger = log.get_logger("settings")
        for key in self._settings.without_effect_yet():
            logger.warning(
                "setting.without_effect_yet", key=key.name, note="checked, but this version does not act on it"
            )

    def _relays_changed(self, node: Node) -> None:
        held = node.held_relays()
        for relay in held:
            if relay not in self._held:
                way = f"{relay}/p2p-circuit/p2p/{node.peer_id}"
                self._say("reserved", f"Friends can reach this node at {way}", relay=relay)
        self._held = held

    def _say(self, event: str, sentence: str, **facts: str) -> None:
        print(json.dumps({"event": event, **facts}) if self._json else sentence, flush=True)

    def _remove_traces(self) -> None:
        (self._data / READY_FILE).unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)


def _metrics_socket(settings: Settings) -> socket.socket | None:
    at = settings.metrics.listen
    if at is None:
        return None
    from towpath.control.ports import bind

    return bind(at, "metrics.listen", move=settings.relay.mode is not RelayMode.DEDICATED_SERVER)


def _greeting(settings: Settings, data: Path, node: Node, page: Place | None) -> str:
    mode = settings.relay.mode
    lines = [f"towpath {__version__} {_DOES[mode]} ({mode})."]
    lines += [f"  {'peer id':10}{node.peer_id}", f"  {'relay id':10}{node.relay_id}"]
    if node.listen_addresses:
        lines += ["It listens at", *(f"  {address}" for address in node.listen_addresses)]
    if not mode.relays and not settings.discovery.bootstrap:
        looks = "It looks for relays nearby" if settings.discovery.mdns else "It knows no relay yet"
        lines.append(f"{looks}; name one elsewhere with --bootstrap /ip4/ADDRESS/tcp/PORT/p2p/ID.")
    if not mode.relays:
        lines.append("To relay for others, start it with --mode cooperative or --mode dedicated.")
    option = "" if data == data_directory(None) else f" --data {data}"
    lines.append(f"See what it does with: towpath status{option}")
    if page is not None:
        lines.append(f"Its page is at {page.url}; open it with: towpath web{option}")
    lines.append("Stop it with Ctrl-C.")
    return "\n".join(lines)


def _in_a_line(status: dict[str, Any]) -> str:
    """What the service manager shows of the node."""
    circuits, relayed = status["circuits_now"], quantity(status["bytes_relayed_today"])
    return f"{status['state']}; {circuits} circuits open, {relayed} relayed today"


def overrides(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that the options of a command line stand for; the option of its own name wins over --set."""
    found: dict[str, Any] = {}
    for assignment in options.set:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(assignment, "", "write it as --set KEY=VALUE", source="--set")
        found[key.strip()] = value
    if options.mode is not None:
        found["relay.mode"] = options.mode
    if options.listen:
        found["network.listen"] = options.listen
    if options.bootstrap:
        found["discovery.bootstrap"] = options.bootstrap
    if options.no_web:
        found["web.listen"] = "none"
    return found


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="towpath run",
        description="Runs a node in the foreground, until Ctrl-C or SIGTERM: it then drains for at most 5 s.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data", metavar="DIR", help="where the node keeps its keys and settings (TOWPATH_DATA)")
    add("--mode", choices=[mode.value for mode in RelayMode], help="what it does for others; client relays for nobody")
    add("--listen", metavar="MULTIADDR", action="append", help="where it listens, such as /ip4/0.0.0.0/tcp/4001")
    add("--bootstrap", metavar="MULTIADDR", action="append", help="a relay to begin with, ending in /p2p/ID")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any setting; `towpath config show` lists them")
    add("--no-web", action="store_true", help="serve no web page")
    add("--json", action="store_true", help="say what happens as JSON lines; the first one is the ready event")
    return parser.parse_args(list(arguments))
