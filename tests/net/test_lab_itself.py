"""The laboratory is what it says: its routers translate and shut out, its lines delay and lose, its silences are."""

import contextlib
import socket
import statistics
import time
from collections.abc import Iterator

import pytest

from tests.net.lab import Capture, Host, Lab, Line, World, ping
from tests.net.lab.world import Household


@pytest.fixture
def world() -> Iterator[World]:
    with Lab() as lab:
        yield World(lab)


@contextlib.contextmanager
def listening(host: Host, port: int = 4001) -> Iterator[socket.socket]:
    with host.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((host.address, port))
        s.listen()
        s.settimeout(5)
        yield s


def dial(host: Host, address: str, port: int = 4001, *, seconds: float = 10.0, local: int = 0) -> socket.socket:
    s = host.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(seconds)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host.address, local))
    try:
        s.connect((address, port))
    except OSError:
        s.close()
        raise
    return s


def seen_from(home: Household, host: Host, outside: list[Host], local: int) -> list[tuple[str, int]]:
    """As whom `host` comes to each of the hosts outside, having dialed from the port `local`."""
    seen = []
    for each in outside:
        with listening(each) as s, dial(host, each.address, local=local):
            connection, peer = s.accept()
            connection.close()
            seen.append(peer)
    return seen


@pytest.mark.parametrize("carrier", [False, True])
def test_a_home_is_reached_from_nowhere_and_reaches_everybody(world: World, carrier: bool) -> None:
    outside = [world.host("one"), world.host("two")]
    home, other = world.home("home", carrier=carrier), world.home("other", "random")
    inside, neighbour = home.host("inside"), home.host("neighbour")
    stranger = other.host("stranger")
    seen = seen_from(home, inside, outside, 5000)
    assert seen == [(home.address, 5000)] * 2
    with listening(inside):
        dial(neighbour, inside.address).close()
        for dialer in (outside[0], stranger):
            for address in (home.address, inside.address):
                with pytest.raises(TimeoutError):
                    dial(dialer, address, seconds=0.5)


def test_a_router_may_take_another_port_for_each_destination(world: World) -> None:
    outside = [world.host(f"host{k}") for k in range(4)]
    home = world.home("home", "random")
    seen = seen_from(home, home.host("inside"), outside, 5000)
    assert {address for address, _ in seen} == {home.address}
    assert len({port for _, port in seen}) > 1


def test_a_home_may_let_one_port_in(world: World) -> None:
    outside, home = world.host("outside"), world.home("home")
    inside = home.host("inside")
    home.forward(inside, 4001)
    with listening(inside):
        dial(outside, home.address, 4001).close()
    with listening(inside, 4002), pytest.raises(TimeoutError):
        dial(outside, home.address, 4002, seconds=0.5)


def test_what_goes_to_nobody_is_lost(world: World) -> None:
    inside = world.home("home").host("inside")
    with pytest.raises(TimeoutError):
        dial(inside, "192.175.48.250", seconds=0.5)


def test_the_hosts_of_a_home_hear_each_others_multicasts_and_nobody_elses(world: World) -> None:
    home, other = world.home("home"), world.home("other")
    speaker, listener, stranger = home.host("speaker"), home.host("listener"), other.host("stranger")
    heard = {}
    with contextlib.ExitStack() as stack:
        for host in (listener, stranger):
            s = stack.enter_context(host.socket(socket.AF_INET, socket.SOCK_DGRAM))
            s.bind(("", 5353))
            mine = socket.inet_aton("224.0.0.251") + socket.inet_aton(host.address)
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mine)
            s.settimeout(0.5)
            heard[host] = s
        s = stack.enter_context(speaker.socket(socket.AF_INET, socket.SOCK_DGRAM))
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        s.sendto(b"here", ("224.0.0.251", 5353))
        assert heard[listener].recv(100) == b"here"
        with pytest.raises(TimeoutError):
            heard[stranger].recv(100)


def test_lines_delay_and_lose(world: World) -> None:
    near, far = world.host("near"), world.host("far", Line(delay_s=0.08))
    lossy = world.host("lossy", Line(delay_s=0.01, loss=0.3))
    pings = ping(near, far.address, 1.0)
    assert statistics.median(pings.times) == pytest.approx(0.08, abs=0.03)
    assert pings.lost == 0
    lost = ping(near, lossy.address, 2.0, every=0.01).lost
    assert 60 < lost < 150  # each way loses 30%, and so 102 of 200 are expected to be lost


def test_a_silent_host_answers_nothing_not_even_no(world: World) -> None:
    here, there = world.host("here"), world.host("there")
    with listening(there) as s, dial(here, there.address) as connection:
        accepted, _ = s.accept()
        there.silence()
        with pytest.raises(TimeoutError):
            dial(here, there.address, 9, seconds=0.5)
        accepted.send(b"unheard")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        there.speak()
        connection.settimeout(10)
        assert connection.recv(10) == b"unheard"
        accepted.close()
    with pytest.raises(ConnectionRefusedError):
        dial(here, there.address, 9)


def test_a_home_that_moves_has_another_address_and_lost_its_connections(world: World) -> None:
    outside, home = world.host("outside"), world.home("home")
    inside = home.host("inside")
    with listening(outside) as s, dial(inside, outside.address) as connection:
        accepted, before = s.accept()
        home.line.move(world.home_network())
        connection.send(b"as from nowhere")
        connection.settimeout(5)
        with pytest.raises((TimeoutError, ConnectionError)):
            connection.recv(10)
        accepted.close()
        with dial(inside, outside.address):
            accepted, after = s.accept()
            accepted.close()
    assert before[0] != after[0] == home.address


def test_a_capture_sees_what_a_router_passes_on(world: World) -> None:
    outside, home = world.host("outside"), world.home("home")
    inside = home.host("inside")
    with Capture(home.router) as capture, listening(outside) as s:
        with dial(inside, outside.address) as connection:
            connection.send(b"a secret")
            accepted, _ = s.accept()
            assert accepted.recv(100) == b"a secret"
            accepted.close()
        time.sleep(0.1)
    assert capture.partners(home.address) == {outside.address}
    assert capture.partners(inside.address) == {outside.address}
    carrying = [p for p in capture.between({home.address}, {outside.address}) if b"a secret" in p.data]
    assert len(carrying) == 1
    assert carrying[0].outgoing
