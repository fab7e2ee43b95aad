"""Places and turns between networks: who invents identities in one leaves the others theirs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.credits.fair import Queue, has_place

networks = st.integers(0, 5).map(lambda n: bytes([n]))


@given(st.lists(networks, max_size=2000), st.integers(1, 600))
def test_no_network_takes_more_than_a_ninth_of_what_others_left(asking: list[bytes], places: int) -> None:
    held: Counter[bytes] = Counter()
    for network in asking:
        before, vacant = held[network], places - held.total()
        if has_place(before, vacant):
            held[network] += 1
            assert before == 0 or held[network] <= (vacant + held[network] + 8) // 9
    assert held.total() <= places
    newcomers = places - held.total()
    assert has_place(0, newcomers) == (newcomers > 0)


def test_a_network_leaves_eight_ninths() -> None:
    held = 0
    while has_place(held, 20_000 - held):
        held += 1
    assert held == 20_000 // 9


@given(st.lists(st.tuples(networks, st.integers(0, 60)), max_size=200), st.integers(1, 20))
def test_a_queue_is_bounded_and_takes_turns(put: list[tuple[bytes, int]], size: int) -> None:
    queue: Queue[tuple[bytes, int]] = Queue(size)
    first: dict[int, bytes] = {}
    for network, n in put:
        taken = queue.put(network, bytes([n]), (network, n))
        if taken:
            first.setdefault(n, network)
        assert len(queue) <= size
    waiting = [queue.pop() for _ in range(len(queue))]
    assert [bytes([n]) for _, (_, n) in waiting] == [key for key, _ in waiting]
    assert len({key for key, _ in waiting}) == len(waiting)
    with pytest.raises(KeyError):
        queue.pop()


@given(st.integers(2, 40), st.integers(2, 40))
def test_who_comes_alone_comes_next_however_many_another_network_sends(many: int, size: int) -> None:
    queue: Queue[str] = Queue(size)
    for n in range(many * size):
        queue.put(b"many", n.to_bytes(4), "of many")
    assert len(queue) == size
    assert queue.put(b"one", b"one", "alone")
    assert len(queue) == size
    assert "alone" in [queue.pop()[1], queue.pop()[1]]


def test_what_waits_is_replaced_under_its_key_and_keeps_its_turn() -> None:
    queue: Queue[int] = Queue(2)
    assert queue.put(b"a", b"1", 1)
    assert queue.put(b"a", b"2", 2)
    assert queue.put(b"b", b"1", 3)
    assert not queue.put(b"a", b"3", 4)
    assert [queue.pop(), queue.pop()] == [(b"1", 3), (b"2", 2)]
    queue.put(b"a", b"1", 1)
    queue.clear()
    assert len(queue) == 0
