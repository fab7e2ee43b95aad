"""A model of TCP flows over lines, for tests of the queue guard: fluid, deterministic, in steps of 5 ms.

A flow that nobody slows fills its queue up to the buffer, as loss-based congestion control does; a slowed one sends at
its rate. Every flow crosses our uplink and may cross a slow line of its own. Queues are first come, first served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from towpath.relay.queue_guard import Decision, QueueGuard, Sample

STEP = 0.005
SAMPLE = 0.06


@dataclass
class Line:
    """A queue of `buffer` seconds before a line of `rate` bytes per second."""

    rate: float
    buffer: float = 0.5
    waiting: dict[Flow, float] = field(default_factory=dict)
    crossed: float = 0.0

    @property
    def delay(self) -> float:
        return sum(self.waiting.values()) / self.rate

    def take(self, arrivals: Mapping[Flow, float]) -> dict[Flow, float]:
        """Queues what fits and lets through what the line carries in a step."""
        room = self.buffer * self.rate - sum(self.waiting.values())
        coming = sum(arrivals.values())
        fits = min(1.0, max(0.0, room + self.rate * STEP) / coming) if coming else 0.0
        for flow, n in arrivals.items():
            self.waiting[flow] = self.waiting.get(flow, 0.0) + n * fits
        queued = sum(self.waiting.values())
        part = min(1.0, self.rate * STEP / queued) if queued else 0.0
        out = {flow: n * part for flow, n in self.waiting.items()}
        for flow, n in out.items():
            self.waiting[flow] -= n
        self.crossed += sum(out.values())
        return out


@dataclass(eq=False)
class Flow:
    """One TCP flow. `lies`: how much its peer delays its acknowledgements on purpose."""

    name: str
    prefix: bytes
    base: float = 0.02
    line: Line | None = None
    lies: float = 0.0
    demand: float = float("inf")
    window: float = 14480.0
    acked: float = 0.0
    rtt: float = 0.0
    flying: float = 0.0
    arriving: deque[tuple[int, float]] = field(default_factory=deque)
    measured: deque[tuple[int, float]] = field(default_factory=deque)
    reported: float = 0.0


class Net:
    """Flows over one uplink with the guard at work; `run` moves time on."""

    def __init__(self, uplink: Line, flows: list[Flow], *, guarded: bool = True) -> None:
        self.uplink = uplink
        self.flows = flows
        self.guard = QueueGuard()
        self.guarded = guarded
        self.steps = 0
        self.decision = Decision(None, {}, {}, "")
        self.delays: list[float] = []
        self.spared: set[Flow] = set()
        """Flows that are not the relay's: never sampled nor slowed."""

    @property
    def now(self) -> float:
        return self.steps * STEP

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self._step()

    def _step(self) -> None:
        self.steps += 1
        sends = {flow: self._send(flow) for flow in self.flows}
        through = self.uplink.take(sends)
        for flow in self.flows:
            n = through.get(flow, 0.0)
            delay = flow.base + self.uplink.delay + flow.lies
            if flow.line is not None:
                n = flow.line.take({flow: n}).get(flow, 0.0)
                delay += flow.line.delay
            flow.arriving.append((self.steps + round((flow.base + flow.lies) / STEP), n))
            flow.measured.append((self.steps + round((flow.base + flow.lies) / STEP), delay))
            self._acknowledge(flow)
        self.delays.append(self.uplink.delay)
        if self.guarded and self.steps % round(SAMPLE / STEP) == 0:
            relayed = [flow for flow in self.flows if flow not in self.spared]
            samples = [self._sample(flow) for flow in relayed if flow.acked > flow.reported]
            self.decision = self.guard.decide(self.now, samples)

    def _send(self, flow: Flow) -> float:
        # Slow start, then as reno would: the window halves when the queue overflows.
        n = max(0.0, flow.window - flow.flying)
        rate = self.decision.sending.get(flow, float("inf"))
        if self.decision.line_rate is not None and flow not in self.spared:
            rate = min(rate, self.decision.line_rate / (len(self.flows) - len(self.spared)))
        n = min(n, rate * STEP, flow.demand * STEP)
        flow.flying += n
        return n

    def _acknowledge(self, flow: Flow) -> None:
        while flow.arriving and flow.arriving[0][0] <= self.steps:
            n = flow.arriving.popleft()[1]
            flow.acked += n
            flow.flying -= n
            flow.window += n
        while flow.measured and flow.measured[0][0] <= self.steps:
            delay = flow.measured.popleft()[1]
            flow.rtt += (delay - flow.rtt) * 0.4 if flow.rtt else delay
        full = self.uplink.delay > 0.98 * self.uplink.buffer
        if flow.line is not None:
            full = full or flow.line.delay > 0.98 * flow.line.buffer
        if full:
            flow.flying = sum(n for _, n in flow.arriving) + self.uplink.waiting.get(flow, 0.0)
            flow.window = max(14480.0, flow.flying * 0.7)

    def _sample(self, flow: Flow) -> Sample:
        sent = int(flow.acked - flow.reported)
        flow.reported = flow.acked
        return Sample(flow, flow.prefix, flow.rtt, flow.base, 0.001, sent, 0, SAMPLE)
