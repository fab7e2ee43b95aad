"""The usual case: a home with a slow line before it, and hosts out in the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.net.lab.delay import Delay
from tests.net.lab.namespaces import Host, Lab

_LINE: Final = "192.31.196.244/30"
_OWNER: Final = "192.31.196.248/30"
_RELAY: Final = "192.31.196.252/30"
_WORLD: Final = ("192.52.193", "192.175.48", "192.31.196")
"""Networks of the world's hosts, in turn: three that count as public everywhere."""


@dataclass(frozen=True)
class Home:
    """Who is where: `relay` and `owner` live behind `router`, whose line ends at `provider`; `world` is beyond it."""

    relay: Host
    owner: Host
    router: Host
    world: list[Host]
    delays: list[Delay]
    """Of the links to the world's hosts, when they were asked for."""
    uplink: str
    """The router's interface to the line."""

    def uplink_bytes(self) -> int:
        """What the home has sent out, link headers included."""
        return self.router.sent_bytes(self.uplink)


def home_line(
    lab: Lab,
    *,
    up: float,
    down: float | None = None,
    buffer_s: float = 0.5,
    world: int = 2,
    delay_s: float | None = None,
) -> Home:
    """Builds a home whose line carries `up` bytes per second out and `down` in (None: no bound), with queues of
    `buffer_s` seconds, and `world` hosts beyond it. With `delay_s`, their links take so long there and back, and can be
    changed."""
    router, provider = lab.host("router", router=True), lab.host("provider", router=True)
    relay, owner = lab.host("relay"), lab.host("owner")
    uplink, downlink = lab.link(router, provider, _LINE)
    for host, network in ((owner, _OWNER), (relay, _RELAY)):
        lab.link(router, host, network)
        host.route("default", _first(network))
        provider.route(network, _first(_LINE))
    router.route("default", _first(_LINE, 2))
    router.shape(uplink, up, buffer_s)
    if down is not None:
        provider.shape(downlink, down, buffer_s)
    hosts, delays = [], []
    for k in range(world):
        host = lab.host(f"world{k}")
        network = f"{_WORLD[k % len(_WORLD)]}.{4 * (k // len(_WORLD))}/30"
        if delay_s is None:
            lab.link(provider, host, network)
        else:
            delays.append(Delay(lab, provider, host, network, delay_s))
        host.route("default", _first(network))
        hosts.append(host)
    return Home(relay, owner, router, hosts, delays, uplink)


def _first(network: str, which: int = 1) -> str:
    base, last = network.partition("/")[0].rsplit(".", 1)
    return f"{base}.{int(last) + which}"
