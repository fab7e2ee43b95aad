"""Multiaddrs and peer ids: known encodings, and what is refused."""

from __future__ import annotations

import pytest

from towpath import addresses
from towpath.errors import AddressError

PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
HASHED = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
OTHER = "12D3KooWPoW35MBk7CSKbKJjS7bzqX3DCEiSKvMuHU46dJDy1mJz"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("/ip4/127.0.0.1/tcp/4001", "047f000001060fa1"),
        ("/ip6/::1/udp/1", "29" + "00" * 15 + "01" + "91020001"),
        ("/ip4/1.2.3.4/udp/443/quic-v1", "0401020304910201bbcd03"),
        ("/dns4/a.example/tcp/80/ws", "3609612e6578616d706c6506" + "0050" + "dd03"),
        ("/p2p-circuit", "a202"),
        ("/dnsaddr/bootstrap.example", "3811626f6f7473747261702e6578616d706c65"),
    ],
)
def test_known_encodings(text: str, encoded: str) -> None:
    assert addresses.to_bytes(text).hex() == encoded
    assert addresses.to_text(bytes.fromhex(encoded)) == text


@pytest.mark.parametrize(
    "text",
    [
        f"/ip4/203.0.113.1/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{OTHER}",
        f"/ip4/203.0.113.1/udp/4001/quic-v1/webtransport/certhash/uEiAkH5a4DPGKUuOBjYw0CgwjvcJCJMD2K_1aluKR_tpevQ/p2p/{PEER}",
        "/dns6/relay.example/tcp/443/tls/sni/relay.example/ws",
        "/ip6zone/eth0/ip6/fe80::1/tcp/1",
        f"/ip4/1.1.1.1/tcp/1/wss/p2p/{HASHED}",
        "/ip4/1.1.1.1/udp/1/webrtc-direct/certhash/uEiAkH5a4DPGKUuOBjYw0CgwjvcJCJMD2K_1aluKR_tpevQ",
    ],
)
def test_text_survives_its_binary_form(text: str) -> None:
    assert addresses.to_text(addresses.to_bytes(text)) == text


def test_a_peer_id_is_read_as_base58_and_as_a_cid() -> None:
    raw = addresses.peer_id_to_bytes(PEER)
    assert raw[:6].hex() == "002408011220"
    assert len(raw) == 38
    assert addresses.peer_id_to_text(raw) == PEER
    # From the peer id specification.
    hashed = addresses.peer_id_to_bytes(HASHED)
    assert addresses.peer_id_to_bytes("bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe") == hashed
    assert (
        addresses.peer_id_to_bytes("k2k4r8ooa9g1vdqd7hkvrhy0kmxr9l7dmsihd5ln5hzblbqarwzumzwh"[:0] or HASHED) == hashed
    )


def test_legacy_names_are_read_and_not_written() -> None:
    assert addresses.to_text(addresses.to_bytes(f"/ipfs/{PEER}")) == f"/p2p/{PEER}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/ip4/192.0.2.1/tcp/4001", ("192.0.2.1", 4001, "ip4", None, False, None)),
        (f"/ip6/2001:0db8::0001/tcp/1/p2p/{PEER}", ("2001:db8::1", 1, "ip6", PEER, False, None)),
        (f"/dns/relay.example/tcp/1/p2p/{PEER}/p2p-circuit", ("relay.example", 1, "dns", PEER, True, None)),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{OTHER}", ("1.2.3.4", 1, "ip4", PEER, True, OTHER)),
    ],
)
def test_the_parts_of_an_address(text: str, parts: tuple[object, ...]) -> None:
    address = addresses.parse(text)
    named = [None if raw is None else addresses.peer_id_to_text(raw) for raw in (address.peer_id, address.target_id)]
    assert (address.host, address.port, address.family, named[0], address.circuit, named[1]) == parts
    assert addresses.parse(str(address)) == address


def test_an_address_names_its_relay_and_its_transport() -> None:
    address = addresses.parse(f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{OTHER}")
    assert address.relay == f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}"
    assert address.transport == "/ip4/1.2.3.4/tcp/1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "ip4/1.2.3.4/tcp/1",
        "/ip4",
        "/ip4/1.2.3/tcp/1",
        "/ip4/1.2.3.4/tcp",
        "/ip4/1.2.3.4/tcp/65536",
        "/ip4/1.2.3.4/tcp/-1",
        "/ip4/1.2.3.4/tcp/٣",
        "/ip4/1.2.3.4/udp/1/quic-v1",
        "/ip4/1.2.3.4/tcp/1/ws",
        "/ip6/fe80::1%eth0/tcp/1",
        "/onion3/abc:1",
        "/unknown/1",
        f"/p2p/{PEER}",
        f"/p2p/{PEER}/ip4/1.2.3.4/tcp/1",
        "/ip4/1.2.3.4/tcp/1/p2p/nobody",
        "/ip4/1.2.3.4/tcp/1/p2p/" + "1" * 300,
        f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p/{OTHER}",
        f"/ip4/1.2.3.4/tcp/1/p2p-circuit/p2p/{PEER}/p2p-circuit/p2p/{OTHER}",
        "/dns4//tcp/1",
        "/dns4/a b/tcp/1",
        "/" + "ip4/1.2.3.4/" * 300,
        "/ip4/1.2.3.4\0/tcp/1",
    ],
)
def test_what_is_no_usable_address_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(AddressError, match=r"\w+ \w+"):
        addresses.parse(text)


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "04",
        "047f0000",
        "ff",
        "ffffffffffff01",
        "8400",
        "0600",
        "a503",
        "a5032600",
        "a50305" + "00" * 5,
        "a503" + "ffffffff0f",
        "3600",
        "36022f2f",
        "d20300",
        "047f000001" * 200,
    ],
)
def test_what_is_no_binary_address_is_refused(encoded: str) -> None:
    with pytest.raises(AddressError):
        addresses.to_text(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    "text", ["", "0OIl", "bafzbei", "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", "k51", PEER[:-1]]
)
def test_what_is_no_peer_id_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        addresses.peer_id_to_bytes(text)


def test_who_mistypes_a_peer_id_is_not_told_what_one_looks_like() -> None:
    with pytest.raises(AddressError, match="a character is missing or wrong"):
        addresses.peer_id_to_bytes("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5S")
    with pytest.raises(AddressError, match="one looks like 12D3KooW"):
        addresses.peer_id_to_bytes("somebdy")
