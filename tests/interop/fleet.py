"""The peers of a test session: relays and listeners are started once and reused, dialers once per test."""

import socket
import sys
import tempfile
from pathlib import Path

from .build import SOURCES, peer_command
from .process import Event, Peer

FOREIGN = ("go", "rust", "js")
LANGUAGES = (*FOREIGN, "towpath")
LOOPBACK = "127.0.0.1"


class Fleet:
    """Starts peers by language and role, and ends them all in `close`."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="towpath-interop-")
        self._relays: dict[tuple[str, str], Peer] = {}
        self._listeners: dict[tuple[str, str], Peer] = {}

    def relay(self, language: str, ip: str = LOOPBACK) -> Peer:
        """A running relay of that language, on that address."""
        key = (language, ip)
        if key not in self._relays or not self._relays[key].running:
            name = f"{language} relay"
            if language == "towpath":
                peer = Peer(name, self._towpath_relay(ip), terminate=True)
            else:
                peer = Peer(name, [*self._command(language), "relay", "--listen", ip])
            self._relays[key] = peer
        return self._relays[key]

    def relay_address(self, language: str, ip: str = LOOPBACK) -> str:
        """Where to reach that relay, its id included."""
        ready = self.relay(language, ip).wait("ready")
        address: str = ready["listen" if language == "towpath" else "addrs"][0]
        return address

    def listener(self, language: str, relay: str, ip: str = LOOPBACK) -> Peer:
        """A running listener of that language which holds a reservation at that relay."""
        address = self.relay_address(relay, ip)
        key = (language, address)
        if key not in self._listeners or not self._listeners[key].running:
            command = [*self._command(language), "listener", "--relay", address, *_consent(relay)]
            self._listeners[key] = Peer(f"{language} listener at the {relay} relay", command)
        return self._listeners[key]

    def circuit_address(self, language: str, relay: str, ip: str = LOOPBACK) -> str:
        """Where to reach that listener, through its relay."""
        target = self.listener(language, relay, ip).wait("ready")["peer_id"]
        return f"{self.relay_address(relay, ip)}/p2p-circuit/p2p/{target}"

    def reservation(self, language: str, relay: str, ip: str = LOOPBACK) -> Event:
        """What that listener was told when it reserved."""
        return self.listener(language, relay, ip).wait("reserved")

    def direct_listener(self, language: str, ip: str = LOOPBACK) -> Peer:
        """A running listener of that foreign language on an address of its own, without a relay."""
        key = (language, ip)
        if key not in self._listeners or not self._listeners[key].running:
            command = [*self._command(language), "listener", "--listen", ip]
            self._listeners[key] = Peer(f"{language} listener", command)
        return self._listeners[key]

    def discovering(self, language: str, *peers: str) -> Peer:
        """A new listener of that language (go or js) that finds a relay by itself, through the DHT of these peers."""
        found = [word for peer in peers for word in ("--discover", peer)]
        return Peer(f"{language} listener without a relay", [*self._command(language), "listener", *found])

    def public_relay(self, *settings: str, bootstrap: str | None = None) -> Peer:
        """A new relay of ours that stands in the DHT of go and js, too, with loopback as its public network."""
        with socket.create_server((LOOPBACK, 0)) as free:
            port = free.getsockname()[1]
        announce = f"/ip4/{LOOPBACK}/tcp/{port}"
        given = (
            *("network.public_ranges=127.0.0.0/8", f"network.announce={announce}", "network.port_mapping=false"),
            *("discovery.public_dht=true", "discovery.dht=true", *settings),
        )
        words = [word for setting in given for word in ("--set", setting)]
        words += [] if bootstrap is None else ["--bootstrap", bootstrap]
        return Peer("towpath relay in the DHT", [*self._towpath_relay(LOOPBACK, port), *words], terminate=True)

    def dialer(self, language: str, target: str, seed: str, size: int, relay: str | None = None, *more: str) -> Peer:
        """A new dialer, which runs the three exchanges with the target; `more` goes to its command line."""
        command = [*self._command(language), "dialer", "--target", target]
        command += ["--seed", seed, "--bytes", str(size), *_consent(relay), *more]
        return Peer(f"{language} dialer", command)

    def close(self) -> list[str]:
        """Ends every peer; the names of those that did not end well."""
        unwell = []
        for peers in (self._listeners.values(), self._relays.values()):
            for peer in peers:
                peer.ask_to_end()
            unwell += [peer.name for peer in peers if peer.stop() != 0]
        self._directory.cleanup()
        return unwell

    def _command(self, language: str) -> list[str]:
        if language == "towpath":
            return [sys.executable, str(SOURCES / "towpath_peer.py")]
        return peer_command(language)

    def _towpath_relay(self, ip: str, port: int = 0) -> list[str]:
        data = tempfile.mkdtemp(prefix="relay-", dir=self._directory.name)
        family = "ip6" if ":" in ip else "ip4"
        run = [str(Path(sys.executable).with_name("towpath")), "run", "--mode", "dedicated"]
        run += ["--set", "discovery.mdns=false"]  # so that nobody else on the local network hears of it
        return [*run, "--listen", f"/{family}/{ip}/tcp/{port}", "--data", data, "--no-web", "--json"]


def _consent(relay: str | None) -> list[str]:
    """rust-libp2p's relay tells a limit even when it has none; clients must opt into such connections."""
    return ["--allow-limited"] if relay == "rust" else []
