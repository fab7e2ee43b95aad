"""The gate of the gossip: what is taken once, who is dropped, and that nothing grows without bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towpath.credits.receipts import Receipt, fraud_proof
from towpath.credits.receipts import sign as sign_receipt
from towpath.identity import Identity
from towpath.reputation import gate as gates
from towpath.reputation.digest import AGE_S, DAY_S, compose, sign
from towpath.reputation.gate import BANNED_S, FRAMES, MESSAGES, STRIKES, Gate, Verdict
from towpath.reputation.messages import of_digest, of_fraud

AT = 20_000 * DAY_S + AGE_S + 7.0
RELAY = Identity(bytes(32)).peer_id


def digest(n: int, day: int = 19_999) -> bytes:
    seed = n.to_bytes(32, "big")
    made = compose(Identity(seed).peer_id[6:], RELAY, day, {RELAY: 1 << 30})
    assert made is not None
    return of_digest(sign(made, seed))


def proof(n: int) -> bytes:
    seed = n.to_bytes(32, "big")
    payer = Identity(seed).peer_id[6:]
    two = (
        sign_receipt(Receipt(v=1, relay=RELAY, payer=payer, day=1, seq=n, cum_bytes=amount, ok=0, fail=0), seed)
        for amount in (1, 2)
    )
    return of_fraud(fraud_proof(*two))


def test_each_account_is_heard_once_a_day_whoever_brings_it() -> None:
    gate = Gate()
    first = digest(1)
    assert gate.message(b"a", first, 0, AT)[0] is Verdict.TAKE
    assert gate.message(b"b", first, 0, AT)[0] is Verdict.IGNORE
    assert gate.message(b"a", digest(1, 19_998), 0, AT)[0] is Verdict.TAKE
    assert gate.message(b"a", digest(1, 20_001), 0, AT)[0] is Verdict.IGNORE
    assert gate.message(b"a", proof(2), 0, AT)[0] is Verdict.TAKE
    assert gate.message(b"c", proof(2), 0, AT)[0] is Verdict.IGNORE


def test_a_neighbour_that_brings_what_is_no_message_is_dropped_and_may_come_back_later() -> None:
    gate = Gate()
    for _ in range(int(STRIKES[0])):
        assert gate.message(b"a", b"\x01rubbish", 0, AT)[0] is Verdict.REFUSE
        assert not gate.banned(b"a", 0)
    gate.message(b"a", b"\x01rubbish", 0, AT)
    assert gate.banned(b"a", 0)
    assert not gate.frame(b"a", 10, 1)
    assert gate.message(b"a", digest(1), 1, AT)[0] is Verdict.IGNORE
    assert gate.message(b"b", digest(1), 1, AT)[0] is Verdict.TAKE
    assert gate.frame(b"a", 10, BANNED_S + 1)


def test_a_neighbour_that_floods_is_dropped_and_one_that_keeps_the_pace_is_not() -> None:
    gate = Gate()
    # At most a KiB with each frame: two tokens.
    for n in range(1000):
        assert gate.frame(b"steady", 1024, n * 2 / FRAMES[1])
    sent = 0
    while gate.frame(b"flood", 1024, 100):
        sent += 1
    assert sent == FRAMES[0] / 2
    assert gate.banned(b"flood", 100)
    assert not gate.frame(b"large", 1 << 20, 100), "one frame of a MiB is a flood by itself"


def test_of_one_neighbour_only_so_much_is_looked_at_and_others_are_heard_all_the_same() -> None:
    gate = Gate()
    verdicts = [gate.message(b"a", digest(n), 0, AT)[0] for n in range(1, 81)]
    assert verdicts.count(Verdict.TAKE) == MESSAGES[0]
    assert set(verdicts[int(MESSAGES[0]) :]) == {Verdict.IGNORE}
    assert not gate.banned(b"a", 0)
    assert gate.message(b"b", digest(100), 0, AT)[0] is Verdict.TAKE
    assert gate.message(b"a", digest(101), 1, AT)[0] is Verdict.TAKE


def test_many_neighbours_in_one_network_are_heard_as_one() -> None:
    gate = Gate()
    verdicts = [gate.message(n.to_bytes(2), digest(n), 0, AT, b"net")[0] for n in range(1, 301)]
    assert verdicts.count(Verdict.TAKE) == MESSAGES[0]
    assert gate.message(b"b", digest(1000), 0, AT, b"ten")[0] is Verdict.TAKE
    assert gate.message(b"c", digest(1001), 0, AT)[0] is Verdict.TAKE
    assert gate.message(b"new", digest(1002), 1, AT, b"net")[0] is Verdict.TAKE
    for n in range(3 * gates._SOURCES):
        gate.message(b"d", b"", 10.0 * n, AT, n.to_bytes(3))
    assert len(gate._networks) <= gates._SOURCES


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.integers(0, 70_000), st.floats(0, 5000)), max_size=200))
def test_what_a_source_gets_through_is_bounded_whatever_its_clock_and_sizes(
    frames: list[tuple[bytes, int, float]],
) -> None:
    gate, now, through = Gate(), 0.0, dict[bytes, float]()
    for source, size, wait in frames:
        now += wait
        before = gate.banned(source, now)
        passed = gate.frame(source, size, now)
        assert not (before and passed)
        assert passed or gate.banned(source, now)
        if passed:
            through[source] = through.get(source, 0) + 1 + size / 1024
    assert all(cost <= FRAMES[0] + now * FRAMES[1] + 1e-6 for cost in through.values())


def test_what_is_remembered_has_a_bound() -> None:
    gate = Gate()
    for n in range(3 * gates._SOURCES):
        gate.frame(n.to_bytes(4, "big"), 1 << 20, 0)
        gate.frame(b"s" + n.to_bytes(4, "big"), 1, 0)
    assert len(gate._banned) <= gates._SOURCES
    assert len(gate._sources) <= gates._SOURCES
