"""Tickets, addresses and canonical CBOR: what goes in comes out, and random input is refused in the right way."""

from __future__ import annotations

import ipaddress

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from towpath import addresses, cbor
from towpath.client.ticket import MAX_RELAYS, Ticket
from towpath.errors import AddressError, TicketError

ids = st.binary(min_size=32, max_size=32).map(lambda key: addresses.peer_id_to_text(b"\x00\x24\x08\x01\x12\x20" + key))
names = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,8}){1,2}", fullmatch=True)
hosts = st.one_of(
    st.ip_addresses(v=4).map(lambda ip: f"/ip4/{ip}"),
    st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None).map(lambda ip: f"/ip6/{ip.compressed}"),
    st.builds("/{}/{}".format, st.sampled_from(["dns", "dns4", "dns6"]), names),
)
endpoints = st.builds("{}/tcp/{}".format, hosts, st.integers(0, 65535))
relays = st.builds("{}/p2p/{}".format, endpoints, ids)
tickets = st.builds(
    Ticket,
    ids,
    st.lists(relays, max_size=MAX_RELAYS).map(tuple),
    st.binary(min_size=16, max_size=16),
    st.none() | st.integers(0, 2**63),
)


@given(tickets)
def test_a_ticket_survives_its_text(ticket: Ticket) -> None:
    again = Ticket.decode(ticket.encode())
    assert again.peer_id == ticket.peer_id
    assert again.secret == ticket.secret
    assert [addresses.parse(a) for a in again.relays] == [addresses.parse(a) for a in ticket.relays]
    assert again.encode() == ticket.encode()


@given(st.text(max_size=100) | st.from_regex(r"tp1[1-9A-HJ-NP-Za-km-z]{0,400}", fullmatch=True))
def test_random_text_is_no_ticket(text: str) -> None:
    with pytest.raises(TicketError):
        Ticket.decode(text)


@given(relays, ids)
def test_an_address_survives_both_forms(relay: str, target: str) -> None:
    text = f"{relay}/p2p-circuit/p2p/{target}"
    parsed = addresses.parse(text)
    assert addresses.parse(str(parsed)) == parsed
    assert addresses.to_bytes(addresses.to_text(addresses.to_bytes(text))) == addresses.to_bytes(text)


@given(st.binary(max_size=80))
@example(b"\x29" + ipaddress.ip_address("::ffff:1.2.3.4").packed)
def test_random_bytes_are_refused_or_mean_one_address(data: bytes) -> None:
    try:
        text = addresses.to_text(data)
    except AddressError:
        return
    assert addresses.to_bytes(text) == data


@given(st.text(max_size=80) | st.text(alphabet="/ip46tcp2dns.:0123456789", max_size=60))
def test_random_text_is_refused_or_is_an_address(text: str) -> None:
    try:
        parsed = addresses.parse(text)
    except AddressError:
        return
    assert addresses.parse(str(parsed)) == parsed


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(plain)
def test_plain_values_survive(value: cbor.Value) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@given(st.binary(max_size=60))
@example(bytes.fromhex("1801"))  # 1, longer than need be
@example(bytes.fromhex("9f01ff"))  # of indefinite length
@example(bytes.fromhex("a2616101616102"))  # a key twice
@example(bytes.fromhex("c249010000000000000000"))  # a tagged big integer
@example(bytes.fromhex("c11a514b67b0"))  # a tagged date
@example(bytes.fromhex("d9010281f6"))  # a tagged set
@example(bytes.fromhex("d81c00"))  # a tag that decodes to nothing but its content
@example(bytes.fromhex("f97e00"))  # not a number
@example(bytes.fromhex("f7"))  # undefined
@example(bytes.fromhex("0000"))  # bytes after the end
@example(bytes.fromhex("62c328"))  # broken UTF-8
@example(bytes.fromhex("a10101"))  # a key that is no text
@example(b"\x81" * 60)
def test_bytes_are_refused_or_the_one_encoding_of_a_value(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except ValueError:
        return
    assert cbor2.dumps(value, canonical=True) == data
    assert cbor.encode(value) == data
