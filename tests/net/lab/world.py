"""The public side: hosts all over the world behind one namespace that routes, and homes behind NAT.

Nothing leaves it: what has no host is blackholed. A multicast does not pass, so nobody out here meets by mDNS; the
hosts of one home do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from tests.net.lab.delay import Delay
from tests.net.lab.namespaces import Host, Lab

Nat = Literal["preserving", "random"]
"""What a home router does with source ports: it keeps them, or takes another one for each destination."""

_GLOBAL: Final = ("192.31.196", "192.52.193", "192.175.48")
"""Networks that count as public for every implementation, and are nobody's."""
_PRETENDED: Final = ("198.18.0.0/15", "203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24")
PUBLIC: Final = {"network.public_ranges": ",".join(_PRETENDED)}
"""Settings of a towpath node for which all of the world is public."""
_CARRIER: Final = "100.64"


@dataclass(frozen=True)
class Line:
    """What a line to the world is like: the time that a round trip over it takes, the part of packets that it loses,
    bytes per second each way (None: no bound) and the seconds of its queue."""

    delay_s: float = 0.0
    loss: float = 0.0
    rate: float | None = None
    buffer_s: float = 0.1


FAST: Final = Line()


class Attached:
    """A host's or router's line to the world."""

    def __init__(self, lab: Lab, core: Host, host: Host, network: str, line: Line) -> None:
        self.host = host
        self._core = core
        self.network = network
        if line.delay_s or line.loss:
            self.delay: Delay | None = Delay(lab, core, host, network, line.delay_s, line.loss)
            self._at_core, self.link = self.delay.names
        else:
            self.delay = None
            self._at_core, self.link = lab.link(core, host, network)
        if line.rate is not None:
            core.shape(self._at_core, line.rate, line.buffer_s)
            host.shape(self.link, line.rate, line.buffer_s)
        host.route("default", _nth(network, 1))

    @property
    def address(self) -> str:
        """Its public address."""
        return _nth(self.network, 2)

    def move(self, network: str) -> None:
        """The line gets another address; what was under way over the old one is lost."""
        length = network.partition("/")[2]
        old, self.network = self.network, network
        self._core.ip(f"address add {_nth(network, 1)}/{length} dev {self._at_core}")
        self.host.ip(
            f"address del {_nth(old, 2)}/{length} dev {self.link}",
            f"address add {self.address}/{length} dev {self.link}",
            f"route replace default via {_nth(network, 1)}",
        )
        self._core.ip(f"address del {_nth(old, 1)}/{length} dev {self._at_core}")


class Household:
    """A home: a router with NAT and the hosts of its network, where a multicast reaches everybody."""

    def __init__(self, world: World, name: str, number: int, nat: Nat, line: Line, *, carrier: bool) -> None:
        lab = self._lab = world.lab
        self.name = name
        self.router = lab.host(f"{name}-router", router=True)
        self.hosts: list[Host] = []
        self._prefix = f"192.168.{number}"
        if carrier:
            outer = lab.host(f"{name}-carrier", router=True)
            self.line = world.attach(outer, world.home_network(), line)
            shared = f"{_CARRIER}.{number}.0/30"
            inner, uplink = lab.link(outer, self.router, shared)
            self.router.route("default", _nth(shared, 1))
            _translate(outer, self.line.link, inner, nat)
            self.carrier: Host | None = outer
        else:
            self.line = world.attach(self.router, world.home_network(), line)
            uplink = self.line.link
            self.carrier = None
        self.uplink = uplink
        self.router.ip(
            "link add home type bridge mcast_snooping 0",
            f"address add {self._prefix}.1/24 dev home",
            "link set home up",
        )
        _translate(self.router, uplink, "home", nat)

    @property
    def address(self) -> str:
        """Its address as the world sees it."""
        return self.line.address

    def host(self, name: str) -> Host:
        """Another host at home."""
        host = self._lab.host(name)
        here, there = self._lab.names()
        address = f"{self._prefix}.{10 + len(self.hosts)}"
        self.router.ip(
            f"link add {here} type veth peer {there} netns {host.namespace}",
            f"link set {here} master home",
            f"link set {here} up",
        )
        host.ip(
            f"address add {address}/24 dev {there}",
            f"link set {there} up",
            f"route add default via {self._prefix}.1",
        )
        host.address = address
        self.hosts.append(host)
        return host

    def forward(self, host: Host, port: int) -> None:
        """Whoever connects to this TCP port of the home reaches the host's, as if the router had been told so."""
        self.router.nft(f"""
            table ip home {{
                chain to {{
                    type nat hook prerouting priority -100; policy accept;
                    iifname "{self.uplink}" tcp dport {port} dnat to {host.address}
                }}
            }}
            insert rule ip home forward ct status dnat accept
        """)


class World:
    """All that is public, in one lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.core = lab.host("world", router=True)
        self.core.ip("route add blackhole default")
        self._networks = _public_networks()
        self._global_networks = _global_networks()
        self._home_networks = (f"198.19.{k}.0/30" for k in itertools.count(128))
        self._homes = itertools.count(1)

    def host(self, name: str, line: Line = FAST, *, everywhere: bool = False) -> Host:
        """A host with a public address, in a network of its own; with `everywhere` one that go and js take for public,
        too, and of which there are only three networks."""
        host = self.lab.host(name)
        self.attach(host, next(self._global_networks if everywhere else self._networks), line)
        return host

    def home(self, name: str, nat: Nat = "preserving", line: Line = FAST, *, carrier: bool = False) -> Household:
        """A home; with `carrier` its router's own address is behind another NAT."""
        return Household(self, name, next(self._homes), nat, line, carrier=carrier)

    def attach(self, host: Host, network: str, line: Line = FAST) -> Attached:
        """Gives a host or router a line to the world."""
        return Attached(self.lab, self.core, host, network, line)

    def home_network(self) -> str:
        """A network that nobody has: /24 of its own, apart from those of the hosts."""
        return next(self._home_networks)


def _public_networks() -> Iterator[str]:
    # As different as possible, because nodes count neighbours: eight networks of /16 in turn, and where there is room
    # another /24 each time. The upper half of two are the other iterators'.
    for k in itertools.count():
        yield f"198.18.{k}.0/30"
        yield f"198.19.{k}.0/30"
        for narrow in (*_GLOBAL, "203.0.113", "198.51.100", "192.0.2"):
            yield f"{narrow}.{4 * k}/30"


def _global_networks() -> Iterator[str]:
    for k in itertools.count(32):
        for network in _GLOBAL:
            yield f"{network}.{4 * k}/30"


def _translate(router: Host, outside: str, inside: str, nat: Nat) -> None:
    # As home routers do: out goes everything under the router's address, in comes what was asked for.
    how = "masquerade" if nat == "preserving" else "masquerade fully-random"
    router.nft(f"""
        table ip home {{
            chain forward {{
                type filter hook forward priority 0; policy drop;
                ct state established,related accept
                iifname "{inside}" accept
            }}
            chain input {{
                type filter hook input priority 0; policy accept;
                iifname "{outside}" ct state new ip protocol != icmp drop
            }}
            chain out {{
                type nat hook postrouting priority 100; policy accept;
                oifname "{outside}" {how}
            }}
        }}
    """)


def _nth(network: str, n: int) -> str:
    base, last = network.partition("/")[0].rsplit(".", 1)
    return f"{base}.{int(last) + n}"
