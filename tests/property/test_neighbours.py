"""What mDNS and DNS tell of peers, read back: ours is understood, anything else is taken only as far as it holds."""

from __future__ import annotations

from fuzz.python import neighbour
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.relays import identity, relay_id
from towpath.discovery import dnsaddr
from towpath.discovery.mdns import announced, found_in, strings

ips = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
ports = st.integers(1, 65535)


def text(number: int, ip: str, port: int) -> str:
    return f"/ip{6 if ':' in ip else 4}/{ip}/tcp/{port}/p2p/{identity(number).text}"


@given(st.lists(st.tuples(ips, ports), max_size=20))
def test_what_we_announce_is_what_a_neighbour_reads(places: list[tuple[str, int]]) -> None:
    said = announced([text(1, ip, port) for ip, port in places])
    assert len(said) <= 8
    record = b"".join(bytes([len(one)]) + one for one in said)
    assert strings(record) == said
    for found in found_in(said):
        assert found.relay_id == relay_id(1)
        assert not found.relays
        assert set(found.addresses) <= {one.decode().removeprefix("dnsaddr=") for one in said}


def test_the_loopback_is_announced_only_where_there_is_nothing_else() -> None:
    here, there = text(1, "127.0.0.1", 4001), text(1, "192.168.1.2", 4001)
    assert announced([here, there]) == [f"dnsaddr={there}".encode()]
    assert announced([here, text(1, "::1", 4001)]) == [
        f"dnsaddr={one}".encode() for one in (here, text(1, "::1", 4001))
    ]
    assert announced([f"/dns4/relay.example/tcp/1/p2p/{identity(1).text}"]) == []


@given(st.binary(max_size=2000))
@example(b"\xff")
@example(b"\x08dnsaddr=")
def test_anything_is_read_without_a_fault(data: bytes) -> None:
    neighbour.check(data)


@given(st.lists(st.sampled_from(neighbour.seeds()), max_size=200), st.binary(max_size=20))
def test_many_records_and_a_cut_off_one_stay_within_bounds(records: list[bytes], rest: bytes) -> None:
    neighbour.check(b"".join(records) + rest)


@given(st.lists(st.text(max_size=80).map(lambda said: f"dnsaddr={said}".encode()), max_size=10))
def test_what_is_no_address_is_passed_over(texts: list[bytes]) -> None:
    good = f"dnsaddr={text(2, '192.0.2.1', 7)}".encode()
    assert text(2, "192.0.2.1", 7) in dnsaddr.read([*texts, good])


def test_peers_that_one_record_names_are_kept_apart() -> None:
    said = [f"dnsaddr={text(n, f'10.0.0.{n}', 1)}".encode() for n in (1, 2, 1)]
    assert {found.relay_id: found.addresses for found in found_in(said)} == {
        relay_id(1): (text(1, "10.0.0.1", 1),),
        relay_id(2): (text(2, "10.0.0.2", 1),),
    }


def test_addresses_that_lead_to_nobody_in_particular_are_none() -> None:
    nowhere = ("224.0.0.251", "255.255.255.255", "0.0.0.0", "::", "ff02::fb", "240.0.0.1")
    assert found_in([f"dnsaddr={text(1, ip, 4001)}".encode() for ip in nowhere]) == []
