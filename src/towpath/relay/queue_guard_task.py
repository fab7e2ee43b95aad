"""The queue guard at work: samples the relay's sockets while bytes move, asks the policy, sets the sockets' pace."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, cast

from towpath._native.linequality import LineWatch, pace
from towpath.log import get_logger
from towpath.relay.first_hop import FirstHop
from towpath.relay.queue_guard import Decision, QueueGuard, Sample

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session

    Row = tuple[Session, bytes, int, int, int, int, int, float]

__all__ = ["LOW_EFFORT", "Guard", "Slowing"]

LOW_EFFORT: Final = 0x04
"""The traffic class of relayed packets: DSCP LE (RFC 8622), lower effort. Networks that know it carry it last."""
INTERVAL_S: Final = 0.06
MOST_SOCKETS: Final = 64
"""Sampled at a time; the others have their turn next."""
QUIET_S: Final = 1.0
"""Sampling ends when nothing moved for so long and nobody is slowed."""
_CHANGE: Final = 0.02
"""A rate that moved by less than this part of it stays as it is."""
_log = get_logger("queue_guard")


class Slowing(Protocol):
    """What the guard needs of the budget."""

    def slow(self, session: Session, bytes_per_second: float | None, /) -> None:
        """Holds one session's socket to a rate of its own; None: no longer."""


class Guard:
    """Guards the line of `endpoint`, the relay's, between `start` and `stop`.

    Sockets are slowed here; the relay as a whole by `told(rate, why)`, which is called with what its sockets may
    receive together (bytes a second, None: no bound) whenever that changes. `cap()` is the rate that holds without the
    guard: what is not below it is not told. Sockets that lead to this machine itself pass no line and are left alone,
    unless `loopback` says to take them for a line, one whose hops are not probed. `policy` makes what decides.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        budget: Slowing,
        cap: Callable[[], float | None],
        told: Callable[[float | None, str], None],
        *,
        loopback: bool = False,
        policy: Callable[[], QueueGuard] = QueueGuard,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._budget = budget
        self._cap = cap
        self._told = told
        self._loopback = loopback
        self._probing = not loopback
        self._make_policy = policy
        self._watch = LineWatch(endpoint)
        self._timer: asyncio.TimerHandle | None = None
        self._clear()

    def _clear(self) -> None:
        self._policy = self._make_policy()
        self._hop: FirstHop | None = None
        self._moved_at = 0.0
        self._sending: dict[Hashable, float] = {}
        self._receiving: dict[Hashable, float] = {}
        self._line_rate: float | None = None

    @property
    def line_rate(self) -> float | None:
        """What the relay's sockets may receive together, as last told."""
        return self._line_rate

    @property
    def slowed(self) -> int:
        """How many sockets are slowed now."""
        return len(self._sending.keys() | self._receiving.keys())

    def start(self) -> None:
        """Marks the relay's packets as lower effort and begins to watch its sockets."""
        self._endpoint.set_traffic_class(LOW_EFFORT)
        self._watch.on_moving = self._moving
        self._watch.start()

    def stop(self) -> None:
        """Takes back everything that is in force, the marks included."""
        self._watch.stop()
        self._endpoint.set_traffic_class(0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._hop is not None:
            self._hop.close()
        self._apply(Decision(None, {}, {}, ""))
        self._clear()

    def _moving(self) -> None:
        if self._timer is None:
            self._moved_at = self._loop.time()
            self._timer = self._loop.call_later(INTERVAL_S, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        rows = [row for row in self._watch.sample(MOST_SOCKETS) if self._loopback or not _is_here(row[0])]
        if rows:
            self._moved_at = now
        self._apply(self._policy.decide(now, [_sample(row) for row in rows], self._first_hop(now, rows)))
        self._timer = None
        if now - self._moved_at <= QUIET_S or self._sending or self._receiving or self._line_rate is not None:
            self._timer = self._loop.call_later(INTERVAL_S, self._tick)

    def _first_hop(self, now: float, rows: list[Row]) -> float | None:
        if not self._probing:
            return None
        if self._hop is None:
            if not rows:
                return None
            try:
                self._hop = FirstHop(str(_address(rows[0][0])))
            except OSError as error:
                _log.info("first_hop_unknown", error=str(error))
                self._probing = False
                return None
        self._hop.probe(now)
        return self._hop.delay(now)

    def _apply(self, decision: Decision) -> None:
        _pass_on(self._sending, decision.sending, pace)
        _pass_on(self._receiving, decision.receiving, self._budget.slow)
        rate, cap = decision.line_rate, self._cap()
        if rate is not None and cap is not None and rate >= cap:
            rate = None
        if _changed(self._line_rate, rate):
            self._line_rate = rate
            self._told(rate, decision.why)


def _changed(old: float | None, new: float | None) -> bool:
    return old != new and (old is None or new is None or abs(new - old) > _CHANGE * old)


def _pass_on(
    told: dict[Hashable, float], rates: Mapping[Hashable, float], tell: Callable[[Session, float | None], object]
) -> None:
    for key in [key for key in told if key not in rates]:
        del told[key]
        _tell(tell, key, None)
    for key, rate in rates.items():
        if _changed(told.get(key), rate):
            told[key] = rate
            _tell(tell, key, rate)


def _tell(tell: Callable[[Session, float | None], object], key: Hashable, rate: float | None) -> None:
    session = cast("Session", key)
    if not session.closed:
        tell(session, rate)


def _sample(row: Row) -> Sample:
    session, prefix, rtt, least, deviation, sent, received, elapsed = row
    return Sample(session, prefix, rtt * 1e-6, least * 1e-6, deviation * 1e-6, sent, received, elapsed)


def _is_here(session: Session) -> bool:
    return _address(session).is_loopback


def _address(session: Session) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    remote = session.remote
    return ipaddress.ip_address(remote[1:5] if len(remote) < 17 else remote[1:17])
