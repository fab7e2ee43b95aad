# cython: language_level=3
"""The budget of a relay: how many bytes its sockets moved, how fast they may, how many are left, and who gets them.

The meter (meter.pyx) holds the sockets to the rate. Behind it stands credit, the unit of sharing. With no limit in
sight credit passes through as the receivers grant it. While a rate is in force it is dealt out instead: each byte that
arrives, and each that could have arrived and did not, is worth a byte of credit, and circuits get it in turns (deficit
round robin), in quanta times their weight. As long as data waits all the time in the sockets a little less is dealt
than arrives, so that the queue goes and with it the say of whoever filled it.

An allowance ends by holding back: granted credit will come in, so it is set aside. Once what is left bears no
more, senders use up what they have; then the circuits are reset.
"""
cimport cython
from collections import deque
from math import exp, isfinite

from libc.stdint cimport int64_t, uint32_t, uint64_t

from towpath._native.channel cimport Channel, SocketChannel
from towpath._native.core cimport TP_BUCKET_RATE_MAX, tp_bucket_fill, tp_bucket_set, tp_bytequeue_size
from towpath._native.meter cimport Meter
from towpath._native.session cimport Handler, Session

cdef enum:
    GRANT_MIN = 4096           # credit is dealt in pieces of at least this, or when it doubles what is left
    QUANTUM_MAX = 65536
    WINDOW_MIN = 32768
    WINDOW_MAX = 16777216
    QUEUE_US = 50000           # worth so much of the rate a sender may have ahead, besides its round trip
    AHEAD_US = 30000           # and all who want more should have together
    LOOK_AT = 64               # of them at most, for a guess
    ALWAYS_BELOW = 67108864    # bytes a second: with a lower rate credit is dealt even while there is no shortage
    REST_NS = 1000000000       # after so long without a shortage a higher rate lets credit pass through again
    RESUMED_NS = 50000000
    STANDING_NS = 30000000     # data may wait without a pause for so long before less is dealt than arrives
    UNUSED_NS = 50000000       # the rate may be left unused for so long before more is dealt than arrives
    STALE_MS = 2000            # credit not touched for so long is not set aside
    MARGIN = 131072            # of an allowance: for goodbyes, and for what lives on without circuits
    SMOOTH_S = 2               # rate_now's memory

cdef uint64_t NEVER = 0xFFFFFFFFFFFFFFFFu
cdef int64_t PLENTY = 0x7FFFFFFFFFFFFFFF


@cython.no_gc
cdef class Claimant(Handler):
    """One direction of a circuit, whose sender's credit a budget may deal out."""

    cdef uint32_t wants(self) noexcept:
        """Credit that its sender could use and its receiver bears."""
        return 0

    cdef void give(self, uint32_t n) noexcept:
        """Grants so much of it."""
        pass

    cdef void cut(self) noexcept:
        """Ends its circuit: nothing is left for it."""
        pass

    cdef void resume(self) noexcept:
        """Its sender has signed, or need not any more: it goes on with what waits, and may ask for credit again."""
        pass


cdef class Budget(Meter):
    """What the sockets of the endpoints it is attached to (Endpoint.set_budget) may move."""

    def __init__(self, reactor):
        self.claimants = {}
        self.ring = deque()
        self.left = PLENTY
        self.quantum = QUANTUM_MAX
        self.asked_at = self.reactor.clock_ns() * 1e-9

    # --- limits, for Python --------------------------------------------------------------------

    def set_rate(self, bytes_per_second):
        """Holds received bytes and sent ones to this rate each, from now on; None: no limit. At once, while circuits
        run. ValueError below 1."""
        cdef uint64_t rate = rate_of(bytes_per_second)
        cdef uint64_t now = self.reactor.clock_ns()
        tp_bucket_set(&self.receive, rate, now)
        tp_bucket_set(&self.send, rate, now)
        self.turn = max(self.receive.burst >> 2, <uint64_t>GRANT_MIN) if rate else NEVER
        self.quantum = min(max(rate // 250, <uint64_t>GRANT_MIN), <uint64_t>QUANTUM_MAX) if rate else QUANTUM_MAX
        self.issue_max = <int64_t>max(rate // 50, 2 * self.quantum)
        self.issue = min(self.issue, self.issue_max)
        self.paced_ns = now
        self.paced_received = self.received
        self.pressing = False
        self._judge()
        self.tick_soon()

    @property
    def rate(self):
        """The rate in force in bytes per second, or None."""
        return self.receive.rate or None

    def set_allowance(self, received, sent):
        """Socket bytes that may still be received and sent, from now on; None: any number. Replaces what was set
        before. A little less is used: the rest is for goodbyes and for connections without circuits, and when that is
        gone, too, connections that go on are closed."""
        self.end_received = end_of(self.received, received)
        self.end_sent = end_of(self.sent, sent)
        self.watch_received = watch_of(self.received, self.end_received)
        self.watch_sent = watch_of(self.sent, self.end_sent)
        self.exhausted = False
        self.measured_ms = 0
        self.left = PLENTY
        self.near = False
        if received is not None or sent is not None:
            self._measure()
        self._judge()
        self.tick_soon()

    def set_granted(self, received, sent):
        """Socket bytes that may be received and sent before more is granted, from now on; None: any number. Replaces
        what was set before. Where they end sockets wait and nothing is reset; on_waiting is called once, for more to be
        granted."""
        self.granted_received = end_of(self.received, received)
        self.granted_sent = end_of(self.sent, sent)
        self.told_waiting = False
        self._judge()
        self.tick_soon()

    def slow(self, Session session not None, bytes_per_second):
        """Holds the socket of one session to a rate of its own, each way; None: no longer. ValueError when it has no
        socket that this budget counts."""
        cdef SocketChannel channel
        if not isinstance(session.channel, SocketChannel) or (<SocketChannel>session.channel).meter is not self:
            raise ValueError("only the socket of a session that the budget counts can be slowed")
        channel = <SocketChannel>session.channel
        channel.set_pace(rate_of(bytes_per_second))

    def rate_now(self):
        """(received, sent) in bytes per second, smoothed over about two seconds, or since it was last asked if that is
        longer."""
        cdef double now = self.reactor.clock_ns() * 1e-9
        cdef double passed = now - self.asked_at
        cdef double fresh
        if passed > 0.01:
            fresh = 1 - exp(-passed / SMOOTH_S)
            self.received_per_s += fresh * ((self.received - self.asked_received) / passed - self.received_per_s)
            self.sent_per_s += fresh * ((self.sent - self.asked_sent) / passed - self.sent_per_s)
            self.asked_at = now
            self.asked_received = self.received
            self.asked_sent = self.sent
        return self.received_per_s, self.sent_per_s

    # --- circuits ------------------------------------------------------------------------------

    cdef void enter(self, Claimant c) noexcept:
        """A circuit has begun."""
        c.budget = self
        c.noted_ms = self.reactor.now_ms
        self.claimants[c] = None
        if self.left != PLENTY:
            self.left -= c.stream.recv_window

    cdef void leave(self, Claimant c) noexcept:
        """It has ended."""
        self.claimants.pop(c, None)
        c.budget = None
        if len(self.ring) > 2 * len(self.claimants) + 64:
            # Most of them are gone, and while there is nothing to deal no turn of theirs will come.
            self.ring = deque([one for one in self.ring if (<Claimant>one).budget is self])

    cdef void claim(self, Claimant c) noexcept:
        """c could use more credit: its turn will come."""
        if not c.queued and not self.exhausted:
            c.queued = True
            self.ring.append(c)
            self.tick_soon()

    cdef bint spend(self, uint32_t n) noexcept:
        """Sets n bytes of credit aside that are about to be passed through; False when they must be claimed."""
        if self.left == PLENTY:
            return True
        if self.left < n:
            return False
        self.left -= n
        return True

    cdef uint32_t window_for(self, Claimant c) noexcept:
        """The most credit that a sender may have ahead while the rate is in force."""
        cdef uint64_t n
        if self.receive.rate == 0:
            return WINDOW_MAX
        n = c.stream.session.channel.rtt_us(self.reactor.now_ms) + QUEUE_US
        n = <uint64_t>(self.receive.rate * 1e-6 * n * max(c.weight, 1.0))
        return <uint32_t>min(max(n, <uint64_t>WINDOW_MIN), <uint64_t>WINDOW_MAX)

    cdef void _judge(self) noexcept:
        self.limited = (
            self.receive.rate != 0
            or self.end_received != NEVER
            or self.end_sent != NEVER
            or self.granted_received != NEVER
            or self.granted_sent != NEVER
        )
        self.governs = self.near or self.pressing or 0 < self.receive.rate <= ALWAYS_BELOW

    # --- the tick ------------------------------------------------------------------------------

    cdef bint at_rest(self) noexcept:
        if not Meter.at_rest(self):
            return False
        return not self.ring and not self.pressing

    cdef void on_short(self) noexcept:
        if self.receive.rate and not self.pressing:
            self.pressing = True
            self.busy_ns = self.reactor.now_ns
            self._judge()
        self.tick_soon()

    cdef void on_ungranted(self) noexcept:
        if not self.told_waiting:
            self.told_waiting = True
            if self.on_waiting is not None:
                self.reactor.loop.call_soon(self.on_waiting)

    cdef void on_tick(self) noexcept:
        if self.receive.rate:
            self._pace()
        if self.end_received != NEVER or self.end_sent != NEVER:
            self._measure()
        self._judge()
        self._deal()

    cdef void _pace(self) noexcept:
        # What has come in is issued anew; more while too little is out to use the rate, less while data waits.
        cdef uint64_t now = self.reactor.now_ns
        cdef uint64_t passed = min(now - self.paced_ns, <uint64_t>RESUMED_NS)
        cdef int64_t moved = <int64_t>(self.received - self.paced_received)
        cdef int64_t tokens = <int64_t>tp_bucket_fill(&self.receive, now)
        cdef uint64_t standing_ns = 0
        cdef bint starved
        if now - self.paced_ns > RESUMED_NS:
            # There were no ticks for a while, because nobody needed them.
            self.idle_ns = self.sent_ns = self.used_ns = now
        if moved >= <int64_t>(self.receive.rate * 1e-9 * passed) >> 3:
            self.used_ns = now
        starved = self._starved()
        self.paced_ns = now
        self.paced_received = self.received
        if not self.sending:
            self.sent_ns = now
        if not self.receiving and tokens >= <int64_t>(self.receive.burst >> 2):
            if starved:
                moved = max(moved, <int64_t>(self.receive.rate * 1e-9 * passed))
                if self.idle_ns < self.busy_ns:
                    moved += tokens
            self.idle_ns = now
            if now - self.busy_ns > REST_NS and not self.ring:
                self.pressing = False
        else:
            self.busy_ns = now
            if not starved:
                standing_ns = now - self.idle_ns
        standing_ns = max(standing_ns, now - self.sent_ns)
        if standing_ns > STANDING_NS:
            moved -= moved * <int64_t>min((standing_ns - STANDING_NS) // 1000000, <uint64_t>500) // 1000
        self.issue = min(self.issue + moved, self.issue_max)

    cdef bint _starved(self) noexcept:
        # Is there less credit out than the way of those who want more holds? If not, more credit would bring no more
        # bytes: the senders are slow, or this process was. Whoever has all that one may have wants nothing, and waits
        # here only to be told so; what such senders could send and do not is no reason to keep others waiting.
        cdef Claimant c
        cdef uint64_t out = 0
        cdef uint64_t way_us = 0
        cdef int looked = 0
        for c in self.ring:
            if looked == LOOK_AT:
                out = out * <uint64_t>len(self.ring) // LOOK_AT
                break
            if c.stream.recv_window >= self.window_for(c):
                continue
            looked += 1
            out += c.stream.recv_window
            way_us = max(way_us, c.stream.session.channel.rtt_us(self.reactor.now_ms))
        # When hardly anything came in for a while, the credit that is out is with those who do not use it.
        if looked and self.reactor.now_ns - self.used_ns > UNUSED_NS + way_us * 1000:
            return True
        return out < <uint64_t>(self.receive.rate * 1e-6 * (way_us + AHEAD_US))

    cdef void _deal(self) noexcept:
        # Deficit round robin. What is dealt last may overdraw the issue a little; the next ones make up for it.
        cdef Claimant c
        cdef int64_t most
        cdef uint32_t want
        while self.ring and (self.receive.rate == 0 or self.issue > 0) and self.left >= GRANT_MIN:
            c = self.ring.popleft()
            want = c.wants() if c.budget is self else 0
            if want == 0:
                c.queued = False
                c.deficit = 0
                continue
            c.deficit += self.quantum * c.weight
            most = <int64_t>c.deficit
            if not self.ring:
                most = max(most, self.issue if self.receive.rate else PLENTY)
            if self.left != PLENTY:
                most = min(most, self.left)
            if most >= GRANT_MIN or most >= want:
                want = <uint32_t>min(<int64_t>want, most)
                c.deficit = max(c.deficit - want, 0.0)
                if self.receive.rate:
                    self.issue -= want
                if self.left != PLENTY:
                    self.left -= want
                c.room -= min(c.room, <uint64_t>want)
                c.give(want)
            self.ring.append(c)

    # --- the end of an allowance ---------------------------------------------------------------

    cdef void _measure(self) noexcept:
        # How much of what is left is not spoken for. With many circuits not at every tick.
        cdef uint64_t now = self.reactor.clock_ns() // 1000000
        cdef int64_t received, sent
        cdef int64_t granted = 0   # to senders that use it
        cdef int64_t unsent = 0
        cdef Claimant c
        cdef Channel channel
        if self.exhausted or now - self.measured_ms < <uint64_t>len(self.claimants) // 500:
            return
        self.measured_ms = now
        received = <int64_t>min(self.watch_received - min(self.received, self.watch_received), <uint64_t>PLENTY)
        sent = <int64_t>min(self.watch_sent - min(self.sent, self.watch_sent), <uint64_t>PLENTY)
        if received < GRANT_MIN or sent < GRANT_MIN:
            self._exhaust()
            return
        for c in self.claimants:
            if c.bytes != c.noted:
                c.noted = c.bytes
                c.noted_ms = now
            if now - c.noted_ms < STALE_MS:
                granted += c.stream.recv_window
            unsent += tp_bytequeue_size(&c.out.pending) + tp_bytequeue_size(&c.unpaid)
            channel = c.out.session.channel
            if channel.measured_ms != now:
                channel.measured_ms = now
                unsent += channel.queued
        # A sixteenth on top: frames, windows and whatever else travels along.
        granted += granted >> 4
        self.left = min(received, sent - unsent - (unsent >> 4)) - granted
        self.near = self.left < 4 * granted + (1 << 20)

    cdef void _exhaust(self) noexcept:
        cdef Claimant c
        self.exhausted = True
        self.near = True
        self.left = 0
        self.watch_received = self.watch_sent = NEVER
        for c in self.ring:
            c.queued = False
        self.ring.clear()
        for c in list(self.claimants):
            c.cut()
        if self.on_exhausted is not None:
            self.reactor.loop.call_soon(self.on_exhausted)


cdef uint64_t rate_of(bytes_per_second) except? 1:
    if bytes_per_second is None:
        return 0
    if not (isfinite(bytes_per_second) and bytes_per_second >= 1):
        raise ValueError(f"a rate is at least 1 byte per second, not {bytes_per_second}")
    return <uint64_t>min(bytes_per_second, <double>TP_BUCKET_RATE_MAX)


cdef uint64_t end_of(uint64_t counter, allowed) except? 1:
    if allowed is None:
        return NEVER
    if allowed < 0:
        raise ValueError(f"an allowance is not negative: {allowed}")
    return min(counter + <object>allowed, <object>(NEVER - 1))


cdef uint64_t watch_of(uint64_t counter, uint64_t end) noexcept:
    # From where on it counts as used up.
    if end == NEVER:
        return NEVER
    return end - min((end - counter) >> 4, <uint64_t>MARGIN)
