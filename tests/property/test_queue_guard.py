"""The queue guard's policy: what holds for whatever it is told, and how it holds queues short in a model of lines."""

import statistics
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.line_model import STEP, Flow, Line, Net
from towpath.relay.queue_guard import Decision, QueueGuard, Sample, Tuning

T = Tuning()
MBIT = 125_000.0

seconds = st.floats(0, 1.0)
rows = st.builds(
    Sample,
    key=st.integers(0, 7),
    prefix=st.sampled_from([b"a", b"b", b"c", b"d"]),
    rtt=seconds,
    least_rtt=st.floats(0.0001, 0.3),
    deviation=st.floats(0, 0.1),
    sent=st.integers(0, 10**7),
    received=st.integers(0, 10**7),
    elapsed=st.one_of(st.just(0.0), st.floats(0.001, 3.0)),
)
Told = list[tuple[float, list[Sample], float | None]]
ticks = st.lists(
    st.tuples(st.floats(0.0, 2.0), st.lists(rows, max_size=5), st.one_of(st.none(), seconds)), min_size=1, max_size=25
)


@given(ticks)
def test_rates_stay_within_what_was_delivered_and_above_the_floor(
    told: Told,
) -> None:
    guard = QueueGuard()
    now = fastest = 0.0
    for elapsed, samples, first_hop in told:
        now += elapsed
        decision = guard.decide(now, samples, first_hop)
        for s in samples:
            if s.elapsed:
                fastest = max(fastest, max(s.sent, s.received) / s.elapsed)
        for rate in [*decision.sending.values(), *decision.receiving.values()]:
            assert T.floor <= rate <= max(T.floor, T.highest * fastest + T.step)
        assert decision.line_rate is None or decision.line_rate >= T.floor
        assert bool(decision.why) <= (decision.line_rate is not None)


@given(ticks)
def test_who_has_no_delay_is_never_slowed(told: Told) -> None:
    guard = QueueGuard()
    now = 0.0
    late: set[Hashable] = set()
    for elapsed, samples, first_hop in told:
        now += elapsed
        late |= {s.key for s in samples if s.rtt - s.least_rtt > T.threshold}
        decision = guard.decide(now, samples, first_hop)
        assert (decision.sending.keys() | decision.receiving.keys()) <= late


@given(ticks, st.lists(rows, min_size=1, max_size=25))
def test_one_socket_changes_nothing_for_those_that_send(told: Told, others: list[Sample]) -> None:
    # Whatever the peers of one network do, the others' rates are the same as without them, but for the relay's as a
    # whole, which takes several networks.
    alone, beside = QueueGuard(), QueueGuard()
    now = 0.0
    for k, (elapsed, samples, _) in enumerate(told):
        now += elapsed
        one = others[k % len(others)]
        bad = Sample("bad", b"bad", one.rtt, one.least_rtt, one.deviation, one.sent, one.received, one.elapsed)
        without = dict(alone.decide(now, samples).sending)
        rates = dict(beside.decide(now, [*samples, bad]).sending)
        rates.pop("bad", None)
        assert rates == without


@given(ticks)
def test_everything_is_lifted_once_nothing_moves(told: Told) -> None:
    guard = QueueGuard()
    now = 0.0
    for elapsed, samples, first_hop in told:
        now += elapsed
        guard.decide(now, samples, first_hop)
    decision: Decision | None = None
    for _ in range(round(2 * T.memory / 0.1)):
        now += 0.1
        decision = guard.decide(now, [])
    assert decision == Decision(None, {}, {}, "")


def _sample(key: str, delay: float, *, received: int = 0, prefix: bytes | None = None) -> Sample:
    return Sample(key, prefix or key.encode(), 0.02 + delay, 0.02, 0.0, 0 if received else 60_000, received, 0.06)


def _after(samples: list[Sample], seconds: float = 3.0, first_hop: float | None = None) -> Decision:
    guard = QueueGuard()
    decision = guard.decide(0.0, samples, first_hop)
    for k in range(1, round(seconds / 0.06)):
        decision = guard.decide(k * 0.06, samples, first_hop)
    return decision


def test_two_late_networks_slow_their_own_sockets_and_not_the_relay() -> None:
    decision = _after([_sample("a", 0.1), _sample("b", 0.1)])
    assert set(decision.sending) == {"a", "b"}
    assert decision.line_rate is None


def test_three_late_networks_slow_the_relay_and_the_reason_is_said() -> None:
    decision = _after([_sample("a", 0.1), _sample("b", 0.1), _sample("c", 0.1)])
    assert decision.line_rate is not None
    assert "3 networks" in decision.why


def test_a_network_counts_once_and_with_its_best_socket() -> None:
    late = [_sample(f"late{k}", 0.2, prefix=b"one") for k in range(5)]
    assert _after([*late, _sample("a", 0.0), _sample("b", 0.0)]).line_rate is None
    good = [_sample(f"good{k}", 0.0, prefix=bytes([k])) for k in range(3)]
    bad = [_sample(f"bad{k}", 0.2, prefix=bytes([k])) for k in range(3)]
    assert _after([*good, *bad]).line_rate is None


def test_a_late_first_hop_slows_the_relay() -> None:
    decision = _after([_sample("a", 0.0)], first_hop=0.1)
    assert decision.line_rate is not None
    assert "first hop" in decision.why
    assert not decision.sending


def test_a_receiving_socket_answers_for_what_the_uplink_does_not_explain() -> None:
    feeding = _sample("feeding", 0.1, received=60_000)
    assert _after([feeding]).receiving.keys() == {"feeding"}
    assert not _after([feeding, _sample("fed", 0.1)]).receiving
    assert _after([feeding, _sample("fed", 0.0)]).receiving.keys() == {"feeding"}


@pytest.mark.parametrize(("mbit", "base", "flows"), [(2, 0.05, 2), (10, 0.005, 1), (10, 0.2, 5), (100, 0.05, 2)])
def test_the_queue_stays_short_and_the_line_used(mbit: int, base: float, flows: int) -> None:
    uplink = Line(mbit * MBIT)
    net = Net(uplink, [Flow(str(k), bytes([k]), base) for k in range(flows)])
    net.run(20)
    settled = net.delays[round(5 / STEP) :]
    assert statistics.median(settled) < 0.04
    assert uplink.crossed > 0.9 * uplink.rate * 20
    assert min(flow.acked for flow in net.flows) > 0.8 / flows * uplink.crossed


def test_without_the_guard_the_model_shows_the_full_queue() -> None:
    net = Net(Line(10 * MBIT), [Flow("one", b"a")], guarded=False)
    net.run(10)
    assert statistics.median(net.delays) > 0.2


@pytest.mark.parametrize(("lie", "at", "honest"), [(0.04, 2.0, 1), (0.2, 0.5, 3), (1.0, 1.0, 2)])
def test_a_peer_that_delays_on_purpose_slows_itself_alone(lie: float, at: float, honest: int) -> None:
    liar = Flow("liar", b"liar")
    net = Net(Line(100 * MBIT), [liar, *(Flow(str(k), bytes([k]), demand=2 * MBIT) for k in range(honest))])
    net.run(at)
    liar.lies = lie
    # What the flows did to one another before, all at their start, is to be over.
    net.run(8 + 2 * lie)
    before = [flow.acked for flow in net.flows[1:]]
    assert liar in net.decision.sending
    net.run(3)
    assert set(net.decision.sending) == {liar}
    assert net.decision.line_rate is None
    for flow, acked in zip(net.flows[1:], before, strict=True):
        assert flow.acked - acked > 0.97 * 3 * flow.demand


def test_a_peer_on_a_slow_line_of_its_own_slows_itself_alone() -> None:
    slow = Flow("slow", b"slow", line=Line(MBIT, buffer=1.0))
    quick = Flow("quick", b"quick", demand=5 * MBIT)
    net = Net(Line(10 * MBIT), [slow, quick])
    net.run(5)
    before = slow.acked, quick.acked
    net.run(10)
    assert set(net.decision.sending) == {slow}
    assert slow.acked - before[0] > 0.85 * 10 * MBIT
    assert quick.acked - before[1] > 0.97 * 10 * quick.demand


def test_the_relay_yields_to_its_owner_and_recovers_after() -> None:
    # The owner's own upload fills the queue, and goes.
    owner = Flow("owner", b"owner")
    relayed = Flow("relayed", b"relayed")
    uplink = Line(10 * MBIT)
    net = Net(uplink, [relayed])
    net.run(5)
    net.flows.append(owner)
    net.spared = {owner}
    net.run(10)
    before = relayed.acked
    net.run(5)
    assert relayed.acked - before < 0.25 * 5 * uplink.rate
    net.flows.remove(owner)
    uplink.waiting.pop(owner)
    net.run(8)
    before = relayed.acked
    net.run(5)
    assert relayed.acked - before > 0.85 * 5 * uplink.rate
