"""The machine's addresses: can a relay here be reached, and does a client know a relay?"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from towpath.host.diagnosis.finding import Finding, ok, problem, warning
from towpath.internet import PublicAddresses
from towpath.settings import Settings

__all__ = ["check_network", "judge_network"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_CARRIER: Final = ipaddress.ip_network("100.64.0.0/10")


def check_network(settings: Settings) -> Iterator[Finding]:
    """The addresses of the interfaces."""
    import ifaddr

    found = {
        ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0])
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    }
    yield from judge_network(settings, found)


def judge_network(settings: Settings, addresses: Iterable[Address]) -> Iterator[Finding]:
    """The machine has `addresses`."""
    mine = sorted((a for a in addresses if not (a.is_loopback or a.is_link_local)), key=lambda a: (a.version, int(a)))
    if not mine:
        yield problem("network", "this machine has no address but loopback", "connect it to a network")
        return
    internet = PublicAddresses(settings.network.public_ranges)
    public = [a for a in mine if a in internet]
    yield ok("network", f"addresses: {', '.join(map(str, mine))}")
    if not settings.relay.mode.relays:
        if not settings.discovery.bootstrap:
            near = settings.discovery.mdns and settings.client.use_volunteer_relays
            yield warning(
                "network",
                "no relay is named to begin with"
                + (", so only relays on the local network and those used before are found" if near else ""),
                "name one: `towpath config set discovery.bootstrap /ip4/ADDRESS/tcp/PORT/p2p/ID`",
            )
    elif settings.network.announce:
        yield ok("network", f"announced: {', '.join(settings.network.announce)}")
    elif not public:
        carrier = any(a.version == 4 and a in _CARRIER for a in mine)
        advice = (
            "the provider shares one IPv4 address among customers: ask for IPv6 or an address of your own"
            if carrier
            else "`towpath check` says whether others get through the router, and what to do if not"
        )
        unmapped: dict[str, object] = {} if carrier or settings.network.port_mapping else {"network.port_mapping": True}
        yield warning(
            "network",
            "none of the addresses is public, so others may not reach this relay",
            advice,
            settings=unmapped,
            check=True,
        )
    elif all(a.version == 6 for a in public):
        yield ok("network", "public by IPv6 only: peers without IPv6 do not reach this relay")
