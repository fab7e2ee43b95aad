"""`./dev demo`: the whole story on this machine, told step by step.

Two relays and two peers that can meet only through them; a file is shared by one, fetched over HTTP by the
other, and compared. In mid-transfer the relay that carries it is killed, and the transfer goes on through the
other one. As root the relays and each peer live in network namespaces of their own, with wires to the relays'
only; else all are on loopback. Ends with 0 only when the file arrived as it was sent, and always takes away
what it made.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["main"]

MIB: Final = 1 << 20
READY_TIMEOUT: Final = 60.0
FETCH_TIMEOUT: Final = 600.0
RELAY_ADDRESSES: Final = ("192.0.2.1", "198.18.0.1")
LONGEST_STALL: Final = 3.0
SHARER_ADDRESS: Final = "198.51.100.2"
"""Documentation addresses: they exist nowhere, and in namespaces nobody is asked."""

_SERVER: Final = """
import functools, http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
handler = functools.partial(Handler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


_REACH: Final = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), 3)
except ConnectionRefusedError:
    sys.exit(0)
except OSError:
    sys.exit(1)
"""
"""Ends with 1 when no answer comes from an address, not even a refusal."""


class DemoError(Exception):
    """A step did not do what the story says."""


def say(text: str = "") -> None:
    """One line of the story."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Place:
    """Where processes run: on this machine as it is, or in one of its network namespaces."""

    def __init__(self, namespace: str | None = None) -> None:
        # Not `ip netns exec`, which remounts / and so fails under a chroot.
        self.prefix = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []


class Stage:
    """The three places, and every process on them."""

    def __init__(self, relay: Place, sharer: Place, opener: Place, *, apart: bool, work: Path) -> None:
        self.relay = relay
        self.sharer = sharer
        self.opener = opener
        self.apart = apart
        self.work = work
        self._running: list[subprocess.Popen[str]] = []

    def start(self, place: Place, *words: str | Path) -> subprocess.Popen[str]:
        """Starts a program there."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_")}
        # Who takes part is named here: nobody in the neighbourhood is to be asked.
        environ |= {"TOWPATH_DISCOVERY__DHT": "false", "TOWPATH_DISCOVERY__MDNS": "false"}
        process = subprocess.Popen(  # noqa: S603 - our own programs
            [*place.prefix, *map(str, words)], stdout=subprocess.PIPE, text=True, env=environ
        )
        self._running.append(process)
        return process

    def towpath(self, place: Place, *words: str | Path) -> subprocess.Popen[str]:
        """Starts a towpath command there, with JSON lines as its output."""
        return self.start(place, sys.executable, "-m", "towpath", *words, "--json")

    def stop(self) -> None:
        """Ends every process, those that started last first."""
        for process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()


def line_of(process: subprocess.Popen[str], what: str) -> str:
    """The next line that a process prints."""
    import select

    waiting = select.poll()
    if process.stdout is not None:
        waiting.register(process.stdout, select.POLLIN)
    if process.stdout is None or not waiting.poll(READY_TIMEOUT * 1000):
        raise DemoError(f"{what} said nothing for {READY_TIMEOUT:.0f} s")
    line = process.stdout.readline()
    if not line:
        raise DemoError(f"{what} ended with code {process.wait()}")
    return line


def event_of(process: subprocess.Popen[str], what: str, name: str | None = None) -> dict[str, Any]:
    """The next JSON line of a process, or the next one with that event."""
    while True:
        found: dict[str, Any] = json.loads(line_of(process, what))
        if name is None or found.get("event") == name:
            return found


@contextlib.contextmanager
def namespaces() -> Iterator[tuple[Place, Place, Place]]:
    """Three namespaces: the peers' have one wire each, to the relays', which forwards nothing between them."""
    tag = f"towpath-{secrets.token_hex(3)}"
    names = [f"{tag}-{who}" for who in ("relay", "sharer", "opener")]
    made: list[str] = []

    def run(*words: str, inside: str | None = None) -> None:
        command = [*Place(inside).prefix, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise DemoError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")

    try:
        for name in names:
            run("ip", "netns", "add", name)
            made.append(name)
            run("ip", "link", "set", "lo", "up", inside=name)
        relay = names[0]
        for address in RELAY_ADDRESSES:
            run("ip", "addr", "add", f"{address}/32", "dev", "lo", inside=relay)
        run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward", inside=relay)
        for name, wire, network in ((names[1], "w1", "198.51.100"), (names[2], "w2", "203.0.113")):
            run("ip", "link", "add", wire, "type", "veth", "peer", "name", "w0", "netns", name, inside=relay)
            run("ip", "addr", "add", f"{network}.1/24", "dev", wire, inside=relay)
            run("ip", "link", "set", wire, "up", inside=relay)
            run("ip", "addr", "add", f"{network}.2/24", "dev", "w0", inside=name)
            run("ip", "link", "set", "w0", "up", inside=name)
            # The whole world is behind the wire, as behind a home router.
            run("ip", "route", "add", "default", "via", f"{network}.1", inside=name)
        yield Place(names[0]), Place(names[1]), Place(names[2])
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)  # noqa: S603, S607


def may_make_namespaces() -> str | None:
    """None when it may; else why not."""
    if os.geteuid() != 0:
        return "this is not root"
    if shutil.which("ip") is None:
        return "the program `ip` is missing"
    try:
        with namespaces():
            return None
    except DemoError as e:
        return str(e)


def make_file(path: Path, size: int) -> str:
    """A file of random bytes; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as f:
        for _ in range(size // MIB):
            block = os.urandom(MIB)
            digest.update(block)
            f.write(block)
    return digest.hexdigest()


def fetch(url: str, half: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Fetches a file over HTTP; its size, SHA-256, how long it took and the longest pause. Calls `half` halfway."""
    digest = hashlib.sha256()
    size = 0
    stall = 0.0
    began = last = time.monotonic()
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - our own URL
        middle = int(response.headers["Content-Length"]) // 2
        while block := response.read1(MIB):
            now = time.monotonic()
            stall, last = max(stall, now - last), now
            digest.update(block)
            if size < middle <= size + len(block):
                half()
            size += len(block)
    return {"size": size, "sha256": digest.hexdigest(), "seconds": time.monotonic() - began, "stall": stall}


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process has used, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB of memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


class Relay:
    """A relay that runs on the stage."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.data = stage.work / f"relay{number}"
        host = RELAY_ADDRESSES[number] if stage.apart else "127.0.0.1"
        began = time.monotonic()
        self.process = stage.towpath(
            stage.relay,
            *("run", "--data", self.data, "--mode", "dedicated", "--no-web"),
            *("--listen", f"/ip4/{host}/tcp/0", "--set", "log.level=warning"),
        )
        ready = event_of(self.process, "a relay", "ready")
        self.seconds = time.monotonic() - began
        self.address: str = ready["listen"][0]
        self.id: str = ready["relay_id"]
        self.pid: int = ready["pid"]


def tell(stage: Stage, size: int) -> None:
    """The story itself; DemoError when it does not end well."""
    relays = [Relay(stage, number) for number in range(2)]
    first = relays[0]
    say(
        "2. Two relays run: towpath run --mode dedicated "
        f"({first.seconds:.2f} s until it is ready, {resident(first.pid):.0f} MiB)"
    )
    for relay in relays:
        say(f"   {relay.address}")
    known = [word for relay in relays for word in ("--bootstrap", relay.address)]

    served = stage.work / "served"
    served.mkdir()
    sent = make_file(served / "file", size)
    web = stage.start(stage.sharer, sys.executable, "-c", _SERVER, served)
    service = f"127.0.0.1:{int(line_of(web, 'the web server'))}"
    say(f"3. A peer has a file of {size // MIB} MiB (SHA-256 {sent[:16]}…) and a web server at {service}.")

    sharer = stage.towpath(stage.sharer, "share", service, *known, "--data", stage.work / "sharer")
    ticket = event_of(sharer, "share", "shared")["ticket"]
    say(f"4. It shares that: towpath share {service}")
    say(f"   {ticket[:60]}…")

    opener = stage.towpath(stage.opener, "open", ticket, "--data", stage.work / "opener")
    opened = event_of(opener, "open", "open")
    say("5. Another peer opens the ticket: towpath open TICKET; there the web server is at")
    say(f"   {opened['url']}")
    if stage.apart:
        if stage.start(stage.opener, sys.executable, "-c", _REACH, SHARER_ADDRESS).wait() == 0:
            raise DemoError("the peers can reach each other without a relay")
        say(f"   On its own it cannot reach the other peer ({SHARER_ADDRESS}): there is no way but the relays.")
    got = transfer(stage, relays, opener, f"{opened['url']}file")
    if got["sha256"] != sent or got["size"] != size:
        raise DemoError(f"the file that arrived is another one: {got['sha256']} instead of {sent}")
    say("Both hashes are equal.")
    if got["stall"] > LONGEST_STALL:
        raise DemoError(f"the transfer stood still for {got['stall']:.1f} s; {LONGEST_STALL:.0f} s are the most")


def transfer(stage: Stage, relays: Sequence[Relay], opener: subprocess.Popen[str], url: str) -> dict[str, Any]:
    """Fetches the file, and halfway kills the relay through which it comes; what the fetch found."""
    before = {relay.pid: cpu_seconds(relay.pid) for relay in relays}
    getter = stage.start(stage.opener, sys.executable, "-m", "towpath.demo", "--fetch", url)
    via = event_of(opener, "open", "connection_opened")["via"]
    event_of(getter, "the fetch", "half")
    killed, other = sorted(relays, key=lambda relay: relay.id != via)
    used = cpu_seconds(killed.pid) - before[killed.pid]
    killed.process.kill()
    say(f"6. Half of the file has come through {killed.address}")
    say(f"   That relay is killed now: kill -9 {killed.pid}")
    moved = event_of(opener, "open")
    if moved["event"] != "connection_moved":
        raise DemoError("all of the file had come before the relay was killed; choose a larger one with --size")
    if moved["via"] != other.id:
        raise DemoError(f"the transfer goes on through {moved['via']}, which is none of the relays here")
    try:
        getter.wait(FETCH_TIMEOUT)
    except subprocess.TimeoutExpired as e:
        raise DemoError(f"the file did not arrive within {FETCH_TIMEOUT:.0f} s") from e
    got = event_of(getter, "the fetch")
    used += cpu_seconds(other.pid) - before[other.pid]
    rate = got["size"] / got["seconds"] / 1e6
    say(f"   It went on through {other.address}")
    say(f"   The longest that nothing came was {got['stall']:.2f} s.")
    say(f"7. All of it: {got['size'] / MIB:.0f} MiB in {got['seconds']:.2f} s, {rate:.0f} MB/s")
    say(f"   SHA-256 {got['sha256'][:16]}…")
    status = json.loads(line_of(stage.towpath(stage.relay, "status", "--data", other.data), "status"))
    carried = status["bytes_relayed_total"] / MIB
    say(f"8. The second relay carried {carried:.1f} MiB, encrypted end to end; both together")
    say(f"   used {used:.2f} s of CPU: {used / (got['size'] / 1e9):.2f} s per GB")
    return got


def main(arguments: Sequence[str] | None = None) -> int:
    """Tells the story; the exit code."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="The whole story on this machine.")
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="how large the file is")
    parser.add_argument("--loopback", action="store_true", help="make no namespaces")
    parser.add_argument("--fetch", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.fetch:
        say(json.dumps(fetch(options.fetch, lambda: say(json.dumps({"event": "half"})))))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    why_not = "--loopback was given" if options.loopback else may_make_namespaces()
    try:
        with contextlib.ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="towpath-demo-")))
            if why_not is None:
                places = stack.enter_context(namespaces())
                say("1. Three network namespaces: the relays', and two peers', each with one wire, to the relays'.")
            else:
                places = (Place(), Place(), Place())
                say(f"1. All on loopback, since {why_not}: the peers could meet directly here, and do not.")
            stage = Stage(*places, apart=why_not is None, work=work)
            stack.callback(stage.stop)
            tell(stage, options.size * MIB)
    except DemoError as e:
        say(f"demo: {e}")
        return 1
    except KeyboardInterrupt:
        say("demo: stopped")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
