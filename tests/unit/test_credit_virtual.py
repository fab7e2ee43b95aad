"""Credit without receipts: relays probed for a week, and what the operator gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.addresses import peer_id_to_text
from towpath.credits.virtual import LEAST_DAYS, Probed, given_edges
from towpath.errors import TowpathError
from towpath.settings.entries import account_size
from towpath.signed import PEER_ID_PREFIX

TIER = 1 << 30


def key(number: int) -> bytes:
    return bytes([number]) * 32


def text(number: int) -> str:
    return peer_id_to_text(PEER_ID_PREFIX + key(number))


def probed(number: int, days: float, network: str, account: bool = True) -> Probed:
    return Probed(PEER_ID_PREFIX + key(number), key(number) if account else None, days, network)


def test_one_relay_of_each_network_that_was_probed_for_a_week_has_a_free_tier() -> None:
    relays = [
        probed(1, 6.9, "1.0.0.0/16"),
        probed(2, 7.0, "1.0.0.0/16"),
        probed(3, 30.0, "2.0.0.0/16"),
        probed(4, 8.0, "2.0.0.0/16"),
        probed(5, 90.0, "3.0.0.0/16", account=False),
    ]
    assert given_edges(relays, TIER, ()) == {key(2): TIER, key(3): TIER}
    assert given_edges(relays, None, ()) == {}


@given(
    st.lists(
        st.builds(
            probed, st.integers(0, 20), st.floats(0, 100), st.sampled_from(["a", "b", "c"]), account=st.booleans()
        )
    )
)
def test_many_relays_of_few_networks_have_no_more_than_these_networks(relays: list[Probed]) -> None:
    edges = given_edges(relays, TIER, ())
    assert sum(edges.values()) <= 3 * TIER
    good = {one.account for one in relays if one.days >= LEAST_DAYS}
    assert set(edges) <= good


def test_what_the_operator_gives_counts_whatever_was_probed() -> None:
    trust = [account_size(f" {text(1)} = 5MB"), account_size(f"{text(2)}=10GiB")]
    edges = given_edges([probed(2, 50.0, "1.0.0.0/16"), probed(3, 50.0, "2.0.0.0/16")], TIER, trust)
    assert edges == {key(1): 5_000_000, key(2): 10 << 30, key(3): TIER}
    assert account_size(trust[1]) == trust[1]


@pytest.mark.parametrize("entry", ["", "x", text(1), f"{text(1)}=", f"{text(1)}=unlimited", f"{text(1)}=-1", "Qm=5", 5])
def test_an_entry_that_is_no_account_and_size_is_refused(entry: object) -> None:
    with pytest.raises((ValueError, TypeError, TowpathError)):
        account_size(entry)
