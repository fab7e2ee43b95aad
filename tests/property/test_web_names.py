"""Which requests the page's server takes for its own page's, whatever the headers say."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from towpath.web.names import foreign, host_of, known_host

ANY = st.text(max_size=60)
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,10}[a-z0-9])?){0,3}", fullmatch=True)
ADDRESSES = st.ip_addresses().map(lambda a: f"[{a}]" if isinstance(a, ipaddress.IPv6Address) else str(a))
PORTS = st.sampled_from(["", ":1", ":4080", ":65535"])


@given(ANY, st.frozensets(NAMES))
def test_any_text_is_a_host_or_none(header: str, names: frozenset[str]) -> None:
    host = host_of(header)
    assert host is None or (host and not set(host) & set("/@?#[] \t\r\n\0"))
    known_host(header, names)


@given(NAMES, PORTS)
def test_only_localhost_and_the_names_given_are_known(name: str, port: str) -> None:
    assert known_host(name + port, ()) == (name == "localhost")
    assert known_host(name.upper() + port, (name,))


@given(ADDRESSES, PORTS)
def test_an_address_is_known_as_nobody_can_make_it_lead_elsewhere(address: str, port: str) -> None:
    assert known_host(address + port, ())


@given(NAMES, PORTS, ANY, st.booleans())
def test_only_the_very_same_origin_is_ours(name: str, port: str, origin: str, secure: bool) -> None:
    host, scheme = name + port, "https" if secure else "http"
    assert foreign(host, f"{scheme}://{host}", "same-origin", "empty", secure=secure) is None
    assert foreign(host, f"{'http' if secure else 'https'}://{host}", None, None, secure=secure)
    if origin.lower() != f"{scheme}://{host}":
        assert foreign(host, origin, None, None, secure=secure)


@given(ANY, st.sampled_from(["cross-site", "same-site", "anything"]))
def test_what_another_page_asks_for_is_foreign_unless_somebody_follows_a_link(destination: str, site: str) -> None:
    found = foreign("localhost:1", None, site, destination, secure=False)
    assert (found is None) == (destination == "document")
    assert foreign("localhost:1", None, None, None, secure=False) is None
