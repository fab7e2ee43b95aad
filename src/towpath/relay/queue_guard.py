"""How fast each socket may send, so that relaying never fills a line's own queue: a pure policy, fed samples and times.

A queue shows as delay: a socket's smoothed round trip above its least. The law is LEDBAT's aim (RFC 6817: hold the
delay at a target below what people notice, yield to others) with BBR's means (pace at what was seen to be delivered):

    rate = delivered · (1 + gain · (target − delay))

While a queue stands, what is delivered is the socket's share of the line, so the delay settles near the target whatever
the line's speed, and halving the rate drains even a full queue within twice its length. The most delivered lately
counts: what was delivered less, because the rate was low or the machine stood still for a moment, says nothing of the
line. Without a queue the rate grows from what is delivered, so that it can never run far ahead of it.

- Each socket is judged by its own delay and slowed alone. So one peer on a bad line, or one that delays its
  acknowledgements on purpose, slows itself.
- The whole relay steps down only when the median over at least three network prefixes, each counting once and with the
  best of its sockets within the last second, shows a queue, or when the line's first hop does.
- A socket that mostly receives fills the queue towards us, if any; what we answer waits in the uplink's queue, too.
  So it answers only for what its delay exceeds that of the best sending socket.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Decision", "QueueGuard", "Sample", "Tuning"]

_SEGMENT: Final = 1448
_ACK_WAIT_S: Final = 0.04
"""How long a receiver waits for a second segment before it acknowledges one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the kernel says of one socket that moved bytes. Seconds and bytes.

    `elapsed` is the time since the socket's last sample, 0 when there was none; `sent` (acknowledged) and `received`
    count since then.
    """

    key: Hashable
    prefix: bytes
    rtt: float
    least_rtt: float
    deviation: float
    sent: int
    received: int
    elapsed: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """The numbers of the law. Seconds and bytes per second."""

    threshold: float = 0.025
    """A free socket is slowed above this delay."""
    target: float = 0.012
    """Where the delay of a slowed one is held."""
    line_target: float = 0.018
    """The same for the relay as a whole: above the sockets' own, so that they, who are quicker, do the fine work."""
    gain: float = 5.0
    """Change of rate per second of delay."""
    lowest: float = 0.5
    highest: float = 1.25
    """Bounds of that change."""
    smoothing: float = 0.2
    """Time constant of what is delivered."""
    floor: float = 16 * 1024
    """Nobody is slowed below this, and who moves less is no burden."""
    step: float = 1024
    """Added to every slowed rate, so that shares of a line grow equal."""
    used: float = 0.8
    """Who delivers less than this part of its rate does not use it, and keeps it for later."""
    unused: float = 3.0
    """Without delay a rate that is used grows by `growth` within this time; one that does not is lifted."""
    growth: float = 1.1
    memory: float = 10.0
    """A socket not sampled for so long is forgotten, and its rate lifted."""
    prefixes: int = 3
    """The fewest whose median says something of our own line."""
    within: float = 1.0
    """How long a prefix's least delay speaks for it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is in force after a sample: rates in bytes per second. Who is not named is free."""

    line_rate: float | None
    sending: Mapping[Hashable, float]
    receiving: Mapping[Hashable, float]
    why: str
    """Why the relay as a whole is slowed, or empty."""


@dataclass(slots=True)
class _Least:
    """The least delay of about the last `within` seconds."""

    at: float = -math.inf
    delay: float = math.inf

    def see(self, now: float, delay: float, within: float) -> None:
        if delay <= self.delay or now - self.at > within:
            self.at, self.delay = now, delay


@dataclass(slots=True)
class _Flow:
    """One thing that is slowed: a socket in one direction, or the relay."""

    delivered: float = 0.0
    peaks: tuple[float, float] = (0.0, 0.0)
    """The most that was delivered in this stretch of time, and in the one before."""
    peaks_since: float = -math.inf
    rate: float | None = None
    share: float = 0.0
    """What the line gives: the peak while a queue stood and the rate was used, or more since."""
    calm_since: float | None = None
    grown_at: float = 0.0
    grown_to: float = 0.0

    def step(self, t: Tuning, target: float, now: float, delay: float, moved: float, elapsed: float) -> None:
        self.delivered -= math.expm1(-elapsed / t.smoothing) * (moved / elapsed - self.delivered)
        if now - self.peaks_since > 2 * t.smoothing:
            self.peaks = (self.delivered, self.peaks[0])
            self.peaks_since = now
        self.peaks = (max(self.peaks[0], self.delivered), self.peaks[1])
        if self.rate is None:
            if delay <= t.threshold or self.delivered <= t.floor:
                return
            self.share = max(*self.peaks, moved / elapsed)
            self.calm_since = None
        elif delay <= target / 2:
            self._grow(t, now)
            if self.rate is None:
                return
        else:
            self.calm_since = None
            if delay > t.threshold or self.delivered > t.used * self.rate:
                self.share = max(self.peaks)
        if self.calm_since is not None and now - self.calm_since > 2 * t.smoothing:
            change = t.highest
        else:
            change = min(t.highest, max(t.lowest, 1 + t.gain * (target - delay)))
        self.rate = max(t.floor, self.share * change + t.step)

    def _grow(self, t: Tuning, now: float) -> None:
        self.share = max(self.share, self.delivered)
        if self.calm_since is None:
            self.calm_since = self.grown_at = now
            self.grown_to = self.share
        elif self.share > t.growth * self.grown_to:
            self.grown_at = now
            self.grown_to = self.share
        elif now - self.grown_at > t.unused:
            self.rate = None


@dataclass(slots=True)
class _Socket:
    sending: _Flow = field(default_factory=_Flow)
    receiving: _Flow = field(default_factory=_Flow)
    seen_at: float = 0.0


class QueueGuard:
    """Remembers what it must of the sockets; `decide` is told the time (monotonic, seconds) and does no I/O."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self._t = Tuning() if tuning is None else tuning
        self._sockets: dict[Hashable, _Socket] = {}
        self._sending: dict[Hashable, float] = {}
        self._receiving: dict[Hashable, float] = {}
        self._prefixes: dict[bytes, _Least] = {}
        self._best = _Least()
        self._line = _Flow()
        self._line_at = -math.inf
        self._line_sent = 0
        self._line_received = 0
        self._forgot_at = -math.inf
        self._why = ""

    def decide(self, now: float, samples: Sequence[Sample], first_hop: float | None = None) -> Decision:
        """What is in force from now on. `first_hop`: delay of the line's first hop above its least, when known."""
        delays = [_delay(sample) for sample in samples]
        for sample, delay in zip(samples, delays, strict=True):
            self._prefixes.setdefault(sample.prefix, _Least()).see(now, delay, self._t.within)
            if sample.sent >= sample.received:
                self._best.see(now, delay, self._t.within)
        for sample, delay in zip(samples, delays, strict=True):
            self._judge(now, sample, delay)
        if now - self._forgot_at > self._t.within:
            self._forgot_at = now
            self._forget(now)
        self._judge_line(now, first_hop)
        return Decision(self._line.rate, self._sending, self._receiving, self._why)

    def _judge(self, now: float, sample: Sample, delay: float) -> None:
        t = self._t
        socket = self._sockets.get(sample.key)
        if socket is None:
            socket = self._sockets[sample.key] = _Socket()
        socket.seen_at = now
        if not 0 < sample.elapsed <= t.within:
            return  # the first one after a pause tells no rate
        self._line_sent += sample.sent
        self._line_received += sample.received
        socket.sending.step(t, t.target, now, max(0.0, delay - _ack_wait(sample)), sample.sent, sample.elapsed)
        _keep(self._sending, sample.key, socket.sending.rate)
        if now - self._best.at <= 2 * t.within:
            delay = max(0.0, delay - self._best.delay)
        if sample.received > sample.sent or socket.receiving.rate is not None:
            socket.receiving.step(t, t.target, now, delay, sample.received, sample.elapsed)
            _keep(self._receiving, sample.key, socket.receiving.rate)

    def _forget(self, now: float) -> None:
        for key in [k for k, socket in self._sockets.items() if now - socket.seen_at > self._t.memory]:
            del self._sockets[key]
            self._sending.pop(key, None)
            self._receiving.pop(key, None)
        for prefix in [p for p, least in self._prefixes.items() if now - least.at > 2 * self._t.within]:
            del self._prefixes[prefix]

    def _judge_line(self, now: float, first_hop: float | None) -> None:
        t = self._t
        elapsed = now - self._line_at
        if elapsed < t.smoothing / 2:
            return
        if elapsed <= t.within:
            delay, why = self._line_delay(now, first_hop)
            self._line.step(t, t.line_target, now, delay, max(self._line_sent, self._line_received), elapsed)
            self._why = "" if self._line.rate is None else why if delay > t.threshold else self._why
        self._line_at = now
        self._line_sent = self._line_received = 0

    def _line_delay(self, now: float, first_hop: float | None) -> tuple[float, str]:
        delay, why = first_hop or 0.0, f"the first hop answers {(first_hop or 0.0) * 1e3:.0f} ms late"
        fresh = [p.delay for p in self._prefixes.values() if now - p.at <= 2 * self._t.within]
        if len(fresh) >= self._t.prefixes:
            median = statistics.median(fresh)
            if median > delay:
                delay, why = median, f"half of {len(fresh)} networks answer {median * 1e3:.0f} ms late or more"
        return delay, why


def _delay(sample: Sample) -> float:
    # What the deviation of a restless line explains is no queue.
    return max(0.0, sample.rtt - sample.least_rtt - sample.deviation)


def _ack_wait(sample: Sample) -> float:
    # A receiver waits for a second segment before it acknowledges one: as long as segments are apart.
    return min(_ACK_WAIT_S, _SEGMENT * sample.elapsed / sample.sent) if sample.sent else _ACK_WAIT_S


def _keep(rates: dict[Hashable, float], key: Hashable, rate: float | None) -> None:
    if rate is None:
        rates.pop(key, None)
    else:
        rates[key] = rate
