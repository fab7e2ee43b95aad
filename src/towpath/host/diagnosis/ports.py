"""The ports: free, or taken by whom."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from towpath.addresses import parse
from towpath.errors import AddressError
from towpath.host.diagnosis.finding import Finding, Running, ok, problem, warning
from towpath.settings import RelayMode, Settings

__all__ = ["check_ports", "holder", "judge_port", "judge_running"]

_LISTENING: Final = "0A"
_PROC: Final = Path("/proc")


def check_ports(settings: Settings, running: Running | None) -> Iterator[Finding]:
    """The ports that the settings name; for a running node those that it got."""
    wanted = [(text, "network.listen") for text in settings.network.listen]
    if running is not None:
        yield from judge_running(settings, running)
    elif not wanted:
        yield ok("ports", "the node listens nowhere, as its mode is client")
    else:
        for text, key in wanted:
            try:
                address = parse(text)
            except AddressError as e:
                yield problem("ports", f"{text}: {e}", f"correct {key}")
                continue
            yield judge_port(settings, address.host, address.port, _try(address.host, address.port))
    at = settings.metrics.listen
    if at is not None and running is None:
        yield judge_port(settings, at.host, at.port, _try(at.host, at.port), "metrics.listen")


def judge_running(settings: Settings, running: Running) -> Iterator[Finding]:
    """A node listens at `running.listen`: is that what was wanted?"""
    got = {parse(text).port for text in running.listen}
    if not got:
        yield ok("ports", "the node listens nowhere")
        return
    yield ok("ports", f"the node listens on port {', '.join(map(str, sorted(got)))}")
    wanted = {parse(text).port for text in settings.network.listen}
    missing, moved = wanted - got - {0}, got - wanted
    for port in sorted(missing):
        yield warning(
            "ports",
            f"port {port} was taken when the node started{_by(holder(port))}, so it moved to another",
            "free it and start the node again, or let network.listen name the port it has: a router forwards only one",
            settings=_moved(settings.network.listen, port, *moved) if len(missing) == len(moved) == 1 else {},
        )


def _moved(listen: Iterable[str], port: int, to: int) -> dict[str, object]:
    """`network.listen` with another port."""
    before, after = f"/tcp/{port}", f"/tcp/{to}"
    return {"network.listen": [text.removesuffix(before) + after if text.endswith(before) else text for text in listen]}


def judge_port(
    settings: Settings,
    host: str,
    port: int,
    error: int | None,
    key: str = "network.listen",
    taken_by: str | None = None,
) -> Finding:
    """Listening on `host` and `port` gave `error` (errno), or None: it can be listened on."""
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error is None:
        return ok("ports", f"{at} is free")
    if error == errno.EADDRINUSE:
        what = f"{at} is taken{_by(taken_by or holder(port))}"
        if settings.relay.mode is RelayMode.DEDICATED_SERVER:
            return problem("ports", what, f"end that program, or name another port in {key}")
        return warning("ports", what, f"the node takes the next free one; end that program, or change {key}")
    if error in (errno.EACCES, errno.EPERM):
        return problem(
            "ports",
            f"{at} is for root only",
            f"take a port from 1024 on in {key}, or allow it in the service (`systemctl edit towpath`: "
            "AmbientCapabilities=CAP_NET_BIND_SERVICE, CapabilityBoundingSet=CAP_NET_BIND_SERVICE)",
        )
    if error in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and host == "::":
        return ok("ports", "this machine has no IPv6; the node does without")
    return problem(
        "ports",
        f"{at} cannot be listened on: {os.strerror(error).lower()}",
        f"name an address of this machine in {key}",
    )


def holder(port: int, proc: Path = _PROC) -> str | None:
    """Who listens on a TCP port, as `name (process 123)`; None when nobody does or it is another user's."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in sorted(proc.iterdir()):
        if re.fullmatch(r"\d+", process.name):
            with contextlib.suppress(OSError):
                if any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir()):
                    return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return None


def _by(who: str | None) -> str:
    return "" if who is None else f" by {who}"


def _try(host: str, port: int) -> int | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            sock.listen(1)
    except OSError as e:
        return e.errno or errno.EADDRNOTAVAIL
    return None
