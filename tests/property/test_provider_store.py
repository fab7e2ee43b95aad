"""The provider store, fed with anything: its bounds hold, the newest stay, every answer is of what was added."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from towpath.discovery.provider_store import (
    ANSWERED,
    LIFE_S,
    MAX_OTHER_KEYS,
    PER_KEY,
    PER_PREFIX,
    Provider,
    ProviderStore,
)
from towpath.discovery.shards import KEYS, shard_key
from towpath.internet import prefix_of

_KEY = shard_key(3)


class _Used(RuleBasedStateMachine):
    """Two keys, few prefixes, more peers than there is room for: what is kept is the newest that the rules let in."""

    def __init__(self) -> None:
        super().__init__()
        self.store = ProviderStore()
        self.now = 0.0
        self.added: dict[bytes, dict[bytes, tuple[bytes, float]]] = {}

    keys = Bundle("keys")

    @rule(target=keys, key=st.sampled_from((_KEY, b"another")))
    def a_key(self, key: bytes) -> bytes:
        return key

    @rule(key=keys, first=st.integers(0, 200), count=st.integers(1, 80), prefixes=st.integers(1, 90))
    def some_come(self, key: bytes, first: int, count: int, prefixes: int) -> None:
        for peer in range(first, first + count):
            self.now += 0.001
            peer_id, prefix = b"peer %d" % peer, b"%d" % (peer % prefixes)
            assert self.store.add(key, peer_id, [b"address"], prefix, self.now)
            self.added.setdefault(key, {})[peer_id] = (prefix, self.now)
            answer = {one.peer_id for one in self._all(key)}
            assert peer_id in answer

    @rule(seconds=st.floats(0, LIFE_S))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=keys, seed=st.integers())
    def somebody_asks(self, key: bytes, seed: int) -> None:
        answer = self.store.some(key, random.Random(seed), self.now)
        assert len(answer) == min(ANSWERED, self.store.count(key, self.now))
        assert len({one.peer_id for one in answer}) == len(answer)
        for one in answer:
            assert self.now - self.added[key][one.peer_id][1] < LIFE_S

    @invariant()
    def bounds_hold(self) -> None:
        for key, added in self.added.items():
            kept = [one.peer_id for one in self._all(key)]
            assert len(kept) <= PER_KEY
            of_prefix = Counter(added[peer_id][0] for peer_id in kept)
            assert all(count <= PER_PREFIX for count in of_prefix.values())

    def _all(self, key: bytes) -> list[Provider]:
        kept = self.store._keys.get(key)
        return [] if kept is None else [entry.provider for entry in kept.values() if self.now - entry.at < LIFE_S]


TestUsed = _Used.TestCase
TestUsed.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 200)), min_size=1, max_size=400))
def test_the_newest_stay(came: list[tuple[int, int]]) -> None:
    store = ProviderStore()
    prefixes = dict(came)
    for at, (peer, _) in enumerate(came):
        store.add(_KEY, b"%d" % peer, (), b"%d" % prefixes[peer], float(at))
    newest = list(dict.fromkeys(peer for peer, _ in reversed(came)))
    kept = {int(peer_id) for peer_id in store._keys[_KEY]}
    of_prefix: Counter[int] = Counter()
    for peer in newest[:PER_KEY]:
        of_prefix[prefixes[peer]] += 1
        # Whoever is among the newest of the key and of its prefix is kept.
        assert peer in kept or of_prefix[prefixes[peer]] > PER_PREFIX


@given(st.integers(1, 50), st.integers(1, 28))
def test_a_flood_from_few_prefixes_drives_nobody_else_out(prefixes: int, honest: int) -> None:
    store = ProviderStore()
    for peer in range(honest):
        store.add(_KEY, b"honest %d" % peer, (), b"home %d" % peer, 0.0)
    for peer in range(1000):
        store.add(_KEY, b"flood %d" % peer, (), b"flood %d" % (peer % prefixes), 1.0)
    kept = set(store._keys[_KEY])
    assert {b"honest %d" % peer for peer in range(honest)} <= kept
    assert len(kept) == honest + PER_PREFIX * prefixes


def test_each_provider_is_answered_about_as_often() -> None:
    store, rng = ProviderStore(), random.Random(1)
    for peer in range(100):
        store.add(_KEY, b"%d" % peer, (), b"%d" % peer, 0.0)
    answered = Counter(one.peer_id for _ in range(1000) for one in store.some(_KEY, rng, 1.0))
    # 20 of 100, a thousand times: 200 each, with a standard deviation of 13.
    assert len(answered) == 100
    assert all(140 <= count <= 260 for count in answered.values())


def test_other_keys_come_and_go_and_the_shards_stay() -> None:
    store = ProviderStore()
    for key in KEYS:
        store.add(key, b"relay", [b"address"], b"a", 0.0)
    for n in range(3 * MAX_OTHER_KEYS):
        assert store.add(b"key %d" % n, b"peer", (), b"b", 1.0)
    assert len(store) == len(KEYS) + MAX_OTHER_KEYS
    assert all(store.count(key, 1.0) == 1 for key in KEYS)
    assert store.count(b"key 0", 1.0) == 0
    assert store.count(b"key %d" % (3 * MAX_OTHER_KEYS - 1), 1.0) == 1


def test_what_is_too_long_is_refused_or_left_out() -> None:
    store = ProviderStore()
    assert not store.add(b"k" * 81, b"peer", (), b"a", 0.0)
    assert not store.add(b"", b"peer", (), b"a", 0.0)
    assert not store.add(_KEY, b"p" * 65, (), b"a", 0.0)
    assert store.add(_KEY, b"peer", [b"a" * 161, *[b"%d" % n for n in range(20)]], b"a", 0.0)
    (provider,) = store.some(_KEY, random.Random(1), 0.0)
    assert provider.addresses == tuple(b"%d" % n for n in range(7))
    assert len(store) == 1


def test_after_two_hours_nobody_remembers() -> None:
    store = ProviderStore()
    store.add(_KEY, b"early", (), b"a", 0.0)
    store.add(_KEY, b"late", (), b"a", 10.0)
    assert [one.peer_id for one in store.some(_KEY, random.Random(1), LIFE_S + 5)] == [b"late"]
    assert store.some(_KEY, random.Random(1), LIFE_S + 20) == []
    assert len(store) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.31.196.1", "192.31.196.250", True),
        ("192.31.196.1", "192.31.197.1", False),
        ("::ffff:192.31.196.1", "192.31.196.9", True),
        ("2620:4f:8000:1::1", "2620:4f:8000:ffff::2", True),
        ("2620:4f:8000::1", "2620:4f:8001::1", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_prefixes_are_24_and_48_bits(one: str, other: str, same: bool) -> None:
    assert (prefix_of(one) == prefix_of(other)) is same


def test_what_is_no_address_has_no_prefix() -> None:
    with pytest.raises(ValueError, match="relay"):
        prefix_of("relay.example.org")
