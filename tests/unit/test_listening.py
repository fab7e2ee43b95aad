"""Where a node listens, and under which addresses that is reachable."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import resource
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace

import ifaddr
import pytest

from towpath import listening
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath.errors import AddressError
from towpath.listening import open_files, open_listeners, reachable_at


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    reactor = Reactor(asyncio.get_running_loop())
    made = Endpoint(reactor, bytes(32))
    yield made
    made.close()
    reactor.close()


def answers(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex((host, port)) == 0


async def test_each_address_is_listened_on(endpoint: Endpoint) -> None:
    wanted = ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0", "/ip4/127.0.0.2/tcp/0"]
    opened = open_listeners(endpoint, wanted, move=False)
    assert [host for host, _ in opened] == ["127.0.0.1", "::1", "127.0.0.2"]
    assert all(answers(host, port) for host, port in opened)
    endpoint.stop_listening()
    assert not any(answers(host, port) for host, port in opened)


async def test_a_taken_port_moves_to_the_next_free_one_or_fails(endpoint: Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ((_, moved),) = open_listeners(endpoint, [f"/ip4/127.0.0.1/tcp/{port}"], move=True)
        assert port < moved <= port + 64
        with pytest.raises(OSError, match=f"port {port}: address already in use; choose another") as caught:
            open_listeners(endpoint, [f"/ip4/127.0.0.1/tcp/{port}"], move=False)
        assert caught.value.errno == errno.EADDRINUSE


class Refusing:
    """Stands for an endpoint whose every attempt to listen fails."""

    def __init__(self, **by_family: int) -> None:
        self.by_family = by_family
        self.asked: list[tuple[str, int]] = []

    def listen(self, host: str, port: int) -> int:
        self.asked.append((host, port))
        code = self.by_family.get("ip6" if ":" in host else "ip4", 0)
        if code:
            raise OSError(code, "refused")
        return port


def test_moving_ends_after_64_ports_and_at_the_last_port() -> None:
    refusing = Refusing(ip4=errno.EADDRINUSE)
    with pytest.raises(OSError, match="port 4065: address already in use"):
        open_listeners(refusing, ["/ip4/127.0.0.1/tcp/4001"], move=True)  # type: ignore[arg-type]
    assert [port for _, port in refusing.asked] == list(range(4001, 4066))
    refusing.asked.clear()
    with pytest.raises(OSError, match="no free port from 65530 on"):
        open_listeners(refusing, ["/ip4/127.0.0.1/tcp/65530"], move=True)  # type: ignore[arg-type]
    assert [port for _, port in refusing.asked] == list(range(65530, 65536))


def test_a_port_that_may_not_be_had_is_not_moved() -> None:
    refusing = Refusing(ip4=errno.EACCES)
    with pytest.raises(PermissionError, match="port 80: permission denied; choose another address with --listen"):
        open_listeners(refusing, ["/ip4/127.0.0.1/tcp/80"], move=True)  # type: ignore[arg-type]
    assert refusing.asked == [("127.0.0.1", 80)]


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_listens_on_ipv4(code: int) -> None:
    both = ["/ip6/::/tcp/4001", "/ip4/0.0.0.0/tcp/4001"]
    assert open_listeners(Refusing(ip6=code), both, move=False) == [("0.0.0.0", 4001)]  # type: ignore[arg-type]
    with pytest.raises(OSError, match="cannot listen on :: port 4001"):
        open_listeners(Refusing(ip6=code), both[:1], move=False)  # type: ignore[arg-type]
    with pytest.raises(OSError, match=r"cannot listen on 0\.0\.0\.0"):
        open_listeners(Refusing(ip4=code), both, move=False)  # type: ignore[arg-type]


def test_a_name_is_nothing_to_listen_on() -> None:
    with pytest.raises(AddressError, match=r"0\.0\.0\.0 or :: for all"):
        open_listeners(Refusing(), ["/dns4/localhost/tcp/4001"], move=False)  # type: ignore[arg-type]


# --- reachable at ------------------------------------------------------------------------------------------------


def machine(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """This machine has these addresses."""
    ips = [SimpleNamespace(ip=a if ipaddress.ip_address(a).version == 4 else (a, 0, 0)) for a in addresses]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [SimpleNamespace(ips=ips)])


def test_what_is_listened_on_is_where_it_is_reachable_behind_what_is_announced() -> None:
    announced = ["/dns4/example.org/tcp/443", "/ip4/127.0.0.1/tcp/4001"]
    found = reachable_at([("127.0.0.1", 4001), ("::1", 4002)], announced)
    assert found == [*announced, "/ip6/::1/tcp/4002"]
    assert reachable_at([], []) == []


@pytest.mark.parametrize(
    ("has", "told"),
    [
        (["127.0.0.1", "192.168.1.5", "93.184.216.34", "10.0.0.1"], ["93.184.216.34"]),
        (["127.0.0.1", "192.168.1.5", "10.0.0.1", "169.254.3.4"], ["192.168.1.5", "10.0.0.1"]),
        (["127.0.0.1", "169.254.3.4"], ["127.0.0.1"]),
        (["::1", "2001:db8::1"], []),
    ],
    ids=["public", "private", "loopback", "none"],
)
def test_a_wildcard_stands_for_the_best_addresses_there_are(
    monkeypatch: pytest.MonkeyPatch, has: list[str], told: list[str]
) -> None:
    machine(monkeypatch, *has)
    assert reachable_at([("0.0.0.0", 4001)], []) == [f"/ip4/{ip}/tcp/4001" for ip in told]


def test_an_ipv6_wildcard_stands_for_ipv6_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "127.0.0.1", "93.184.216.34", "::1", "fe80::1", "fd00::1", "2606:2800:220:1::1")
    assert reachable_at([("::", 4001)], []) == ["/ip6/2606:2800:220:1::1/tcp/4001"]
    machine(monkeypatch, "::1", "fe80::1", "fd00::1")
    assert reachable_at([("::", 4001)], []) == ["/ip6/fd00::1/tcp/4001"]


def test_this_machine_is_reachable_somehow() -> None:
    assert all(text.startswith("/ip4/") for text in reachable_at([("0.0.0.0", 1)], []))
    assert reachable_at([("0.0.0.0", 1)], [])


def test_the_limit_of_open_files_is_the_soft_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_files() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    monkeypatch.setattr(listening.resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert open_files() is None
