"""Hosts in network namespaces, the links between them, and queues on the links."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.tools import missing, require
from towpath.demo import Place

_NEW_NET: Final = 0x40000000
_ROOT: Final = Path(__file__).parents[3]
_FIRST: Final = ("nice", "-n", "-10")
"""A host that waits for its turn on this machine would look like one on a bad line."""
_END_SECONDS: Final = 5.0
_numbers = itertools.count(1)


class Host:
    """A host with its own interfaces, routes and sockets. Made by `Lab.host`."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab = lab
        self.name = name
        self.namespace = f"{lab.prefix}-{name}"
        self.address = ""
        """Its first address."""

    @property
    def here(self) -> list[str]:
        """What a command begins with that runs on the host."""
        return Place(self.namespace).prefix

    def run(self, *command: str) -> str:
        """Runs a short command on the host and returns what it printed."""
        return _run(*self.here, *command)

    def ip(self, *commands: str) -> None:
        """Runs commands of `ip`, as text and in this order, in its namespace."""
        batch = "".join(f"{command}\n" for command in commands)
        _run(*self.here, require("ip"), "-batch", "-", told=batch)

    def nft(self, rules: str) -> None:
        """Adds rules of the packet filter, as `nft` reads them from a file."""
        _run(*self.here, require("nft"), "-f", "-", told=rules)

    def silence(self) -> None:
        """From now on nothing comes in or goes out, and nobody is told: as if the plug had been pulled."""
        self.nft("""
            table inet silence {
                chain input { type filter hook input priority -400; policy drop; }
                chain output { type filter hook output priority -400; policy drop; }
                chain forward { type filter hook forward priority -400; policy drop; }
            }
        """)

    def speak(self) -> None:
        """Ends a silence."""
        self.nft("delete table inet silence")

    def start(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
        """Starts a process on the host, from the root of the checkout; it is ended with the lab."""
        options.setdefault("cwd", _ROOT)
        process = subprocess.Popen([*_FIRST, *self.here, *command], **options)
        self._lab.processes.append(process)
        return process

    def python(self, module: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Starts a module of this checkout in Python on the host, its standard input and output in pipes."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} | options
        return self.start([sys.executable, "-m", module, *arguments], **pipes)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is on the host: what sockets it opens belong there for good."""
        with inside(self.namespace):
            yield

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket on the host."""
        with self.inside():
            return socket.socket(family, kind, protocol)

    def route(self, destination: str, via: str) -> None:
        """Sends what goes to `destination` (prefix or "default") by way of `via`."""
        self.ip(f"route add {destination} via {via}")

    def forward(self) -> None:
        """Makes a router of it."""
        self.set("net/ipv4/ip_forward", "1")

    def set(self, name: str, value: str) -> None:
        """Sets a kernel setting of its namespace, by its path below /proc/sys."""
        with self.inside():
            Path("/proc/sys", name).write_text(value)

    def shape(self, link: str, rate: float, buffer_s: float) -> None:
        """Puts a queue of `buffer_s` seconds before a line of `rate` bytes per second on what leaves by `link`.

        Do this on a router: a host's own TCP keeps its local queue short.
        """
        limit = max(3000, round(rate * buffer_s))
        burst = max(3028, round(rate / 250))
        shape = ["rate", f"{round(rate * 8)}bit", "burst", str(burst), "limit", str(limit)]
        self.run("tc", "qdisc", "replace", "dev", link, "root", "tbf", *shape)

    def sent_bytes(self, link: str) -> int:
        """What has left by `link`, link headers included."""
        (told,) = json.loads(self.run("ip", "-json", "-statistics", "link", "show", link))
        return int(told["stats64"]["tx"]["bytes"])


class Lab:
    """All hosts of one test. `congestion` is the TCP congestion control of every host; bbr would hide full queues."""

    def __init__(self, congestion: str = "reno") -> None:
        self.prefix = f"tp{os.getpid()}x{next(_numbers)}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.hosts: list[Host] = []
        self.delaying: subprocess.Popen[bytes] | None = None
        """The program behind the links that delay."""
        self._congestion = congestion
        self._links = itertools.count(1)

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            missing("root, for network namespaces")
        for tool in ("ip", "tc", "nsenter"):
            require(tool)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        for host in self.hosts:
            _run(require("ip"), "netns", "delete", host.namespace)

    def host(self, name: str, *, router: bool = False) -> Host:
        """A new host, without links yet."""
        host = Host(self, name)
        _run(require("ip"), "netns", "add", host.namespace)
        self.hosts.append(host)
        host.ip("link set lo up")
        host.set("net/ipv4/tcp_congestion_control", self._congestion)
        if router:
            host.forward()
        return host

    def link(self, one: Host, other: Host, network: str) -> tuple[str, str]:
        """Joins two hosts, who get the first and the second address of `network`; the link's name at each."""
        name, peer = self.names()
        add = ["link", "add", name, "netns", one.namespace, "type", "veth", "peer", peer, "netns", other.namespace]
        _run(require("ip"), *add)
        # What one host hands over in pieces of 64 KiB would jump the queues in between.
        for which, (host, link) in enumerate(((one, name), (other, peer))):
            self.adopt(host, link, network, which, f"link set {link} gso_max_segs 1")
        return name, peer

    def names(self) -> tuple[str, str]:
        """Unused names for the two ends of a link."""
        number = next(self._links)
        return f"tpv{number}a", f"tpv{number}b"

    def python(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a module of this checkout outside of all hosts, its standard input and output in pipes."""
        command = [*_FIRST, sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.processes.append(process)
        return process

    def adopt(self, host: Host, link: str, network: str, which: int, *more: str) -> None:
        """Gives an interface of the host an address of `network` and takes it up; `more` commands of `ip` go along."""
        net = ip_network(network)
        address = str(net[which + 1])
        host.ip(f"address add {address}/{net.prefixlen} dev {link}", *more, f"link set {link} up")
        host.address = host.address or address


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """The calling thread is in this namespace: what it opens belongs there for good."""
    before = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    try:
        enter(namespace)
        try:
            yield
        finally:
            _set_namespace(before)
    finally:
        os.close(before)


def enter(namespace: str) -> None:
    """Puts the calling thread into a namespace of a lab."""
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _set_namespace(there)
    finally:
        os.close(there)


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NEW_NET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(*command: str, told: str = "") -> str:
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
