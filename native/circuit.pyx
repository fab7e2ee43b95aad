# cython: language_level=3
"""A circuit: two streams spliced to one another. What one brings the other carries on, never seen by Python.

Credit passes through: the sender is granted what the receiver granted, never more, so a reader that stops parks
nothing here and stops only its own sender. Beside neighbours, what is granted ahead is capped at what the two
hops need, so that a bulk circuit does not queue up before them. While a limit is in force, credit is not passed on but
dealt out by the relay's budget (budget.pyx).
"""
cimport cython
import time

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from towpath._native.budget cimport Budget, Claimant
from towpath._native.core cimport (
    tp_bytequeue_drop, tp_bytequeue_free, tp_bytequeue_head, tp_bytequeue_push, tp_bytequeue_size,
)
from towpath._native.purse cimport Purse
from towpath._native.reactor cimport Timed
from towpath._native.session cimport Stream

cdef enum:
    GRANT_MIN = 262144         # credit is passed on in pieces of at least this, or when it doubles what is left
    CLAIM_MIN = 4096           # the same of credit that is dealt out
    CAP_MIN = 524288           # the least that the cap on credit comes down to
    CAP_MAX = 16777216
    LINGER_MS = 2000           # for bytes within a limit that the receiver has not taken yet

cdef uint64_t UNLIMITED = 0xFFFFFFFFFFFFFFFFu


cdef class CircuitOwner:
    """Who counts circuits: the relay service."""

    cdef void on_circuit_end(self, Circuit c) noexcept:
        pass


@cython.no_gc
cdef class Side(Claimant):
    """One direction: from `stream` to `out`. It handles the events of `stream`."""

    def __dealloc__(self):
        tp_bytequeue_free(&self.unpaid)

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        cdef Stream out = self.out
        cdef Circuit c = self.circuit
        cdef bint over = n > self.left
        if c.ending:
            return
        if over:
            n = <size_t>self.left
        if n:
            if self.left != UNLIMITED:
                self.left -= n
            if self.purse is not None:
                n = self._borne(p, n)
                if c.ending:
                    return
        if n:
            self.bytes += n
            if out.send(p, n, True) != 0:
                c.cut_off()
                return
            if out.pending.capacity:
                c.check_stalled()
        if over:
            c.cut_off()
        elif s.recv_window < out.send_window:
            self.credit()

    cdef size_t _borne(self, uint8_t* p, size_t n) noexcept:
        # How many of n bytes may go on, as far as the purse bears them. The others wait, as does what comes behind.
        cdef Circuit c = self.circuit
        cdef size_t before = self.unpaid.capacity
        cdef size_t fit = 0 if before else self.purse.carry(self, n)
        if fit < n:
            if tp_bytequeue_push(&self.unpaid, p + fit, n - fit) != 0:
                c.cut_off()
                return 0
            c.reactor.hold(self.unpaid.capacity - before)
            if not c.ending:
                c.check_stalled()
        return fit

    cdef void _carry_unpaid(self) noexcept:
        cdef Circuit c = self.circuit
        cdef size_t before = self.unpaid.capacity
        cdef size_t n = tp_bytequeue_size(&self.unpaid)
        if self.purse is not None:
            n = self.purse.carry(self, n)
        if n:
            self.bytes += n
            if self.out.send(tp_bytequeue_head(&self.unpaid), n, True) != 0:
                c.cut_off()
                return
            tp_bytequeue_drop(&self.unpaid, n)
            c.reactor.unhold(before - self.unpaid.capacity)
        if tp_bytequeue_size(&self.unpaid) == 0 and self.stream.fin_received:
            self.out.close_write()
        c.check_stalled()

    cdef void drop_unpaid(self) noexcept:
        cdef size_t before = self.unpaid.capacity
        tp_bytequeue_free(&self.unpaid)
        self.circuit.reactor.unhold(before)

    cdef bint _held_back(self) noexcept:
        # Is there no use in more credit now, because the sender is done or its bytes do not get away?
        cdef Stream out = self.out
        if self.stream.gone or self.stream.fin_received or out.gone or tp_bytequeue_size(&self.unpaid):
            return True
        if out.pending.capacity or out.session.channel.above_high:
            self.parked = True
            if out.session.channel.above_high:
                # Even with nothing pending: once the channel has drained, its turn asks here again.
                out.session.wait_for_channel(out)
            return True
        return False

    cdef void credit(self) noexcept:
        """Passes on what the receiver granted, while nothing is parked. Beside other circuits of its connections, or
        once it had to park, a sender gets no more than the cap ahead."""
        cdef Stream s = self.stream
        cdef Stream out = self.out
        cdef Budget budget = self.budget
        cdef uint32_t goal = out.send_window
        cdef uint64_t now
        if self._held_back() or goal <= s.recv_window:
            return
        if budget is not None and budget.governs:
            budget.claim(self)
            return
        if self.parked or s.session.circuits > 1 or out.session.circuits > 1:
            now = self.circuit.reactor.now_ms
            if now - self.granted_ms >= 8:
                self._grow(now)
            goal = min(goal, self.cap)
            if goal <= s.recv_window:
                return
        elif goal > CAP_MAX:
            goal = CAP_MAX
        goal -= s.recv_window
        if goal >= GRANT_MIN or goal >= s.recv_window:
            if self.purse is not None:
                goal = self.purse.take(self, goal)
                if goal == 0:
                    return
            if budget is not None and not budget.spend(goal):
                budget.claim(self)
                return
            self.give(goal)

    cdef uint32_t wants(self) noexcept:
        cdef Stream s = self.stream
        cdef uint64_t goal, want
        if self.circuit is None or self.circuit.ending or self._held_back():
            return 0
        goal = min(self.out.send_window, self.budget.window_for(self))
        if self.budget.receive.rate == 0:
            goal = min(goal, <uint64_t>self.cap)
        if goal <= s.recv_window:
            return 0
        # Twice what it used, so that a sender who uses all it gets may double it, and an idle one hoards nothing.
        self.room = min(self.room + 2 * (self.bytes - self.seen), <uint64_t>CAP_MAX)
        self.seen = self.bytes
        if s.recv_window + self.room < self.budget.quantum:
            self.room = self.budget.quantum - s.recv_window
        want = min(goal - s.recv_window, self.room)
        if want < CLAIM_MIN and want < s.recv_window:
            return 0
        return <uint32_t>want if self.purse is None else self.purse.take(self, <uint32_t>want)

    cdef void give(self, uint32_t n) noexcept:
        self.granted_bytes += n
        if self.purse is not None:
            self.purse.note(self, n)
        self.stream.grant(n)

    cdef void resume(self) noexcept:
        cdef Circuit c = self.circuit
        if c is not None and not c.ending and tp_bytequeue_size(&self.unpaid):
            self._carry_unpaid()
        if c is not None and not c.ending:
            self.credit()

    cdef void bill(self, Purse purse) noexcept:
        """Its sender's bytes are for this purse from now on; None: for nobody's."""
        cdef bint waited = self.purse_short
        if self.purse is purse:
            return
        if self.purse is not None:
            self.purse.part(self)
        if purse is not None:
            purse.join(self)
        if purse is None or waited or tp_bytequeue_size(&self.unpaid):
            self.resume()

    cdef void cut(self) noexcept:
        cdef Circuit c = self.circuit
        if c is not None:
            c.cut_off()

    cdef void _grow(self, uint64_t now_ms) noexcept:
        # The cap follows twice the product of the rate granted lately and the two hops' least round-trip time.
        cdef uint64_t us = self.stream.session.channel.rtt_us(now_ms) + self.out.session.channel.rtt_us(now_ms)
        cdef uint64_t under_way
        if self.granted_ms:
            under_way = self.granted_bytes * us // ((now_ms - self.granted_ms) * 1000)
            while self.cap < 2 * under_way and self.cap < CAP_MAX:
                self.cap *= 2
        self.granted_ms = now_ms
        self.granted_bytes = 0

    cdef void on_fin(self, Stream s) noexcept:
        if tp_bytequeue_size(&self.unpaid) == 0:
            self.out.close_write()

    cdef void on_reset(self, Stream s) noexcept:
        self.out.reset()

    cdef void on_window(self, Stream s) noexcept:
        # s takes more: the side that sends into it may ask for more.
        cdef Circuit c = self.circuit
        cdef Side other = c.second if self is c.first else c.first
        if c.stalled:
            c.check_stalled()
        if c.ending:
            if tp_bytequeue_size(&s.pending) == 0:
                s.reset()
        else:
            other.credit()

    cdef void on_gone(self, Stream s) noexcept:
        cdef Circuit c = self.circuit
        s.session.circuits -= 1
        c.open_sides -= 1
        if c.open_sides == 0:
            c.end()


@cython.no_gc
cdef class Circuit(Timed):
    """Two spliced streams, their counters and limits."""

    def __init__(self):
        raise TypeError("circuits are made by a relay's CONNECT")

    cdef void splice(self, Stream dialing, Stream stopping, Budget budget) noexcept:
        """Joins them from now on. budget: who deals out its credit, or None."""
        cdef Side first = Side.__new__(Side)
        cdef Side second = Side.__new__(Side)
        first.circuit = second.circuit = self
        first.stream = second.out = dialing
        first.out = second.stream = stopping
        first.left = second.left = self.limit_data if self.limit_data else UNLIMITED
        first.cap = second.cap = CAP_MIN
        first.weight = second.weight = 1
        self.first = first
        self.second = second
        self.open_sides = 2
        dialing.session.circuits += 1
        stopping.session.circuits += 1
        self.opened_at = time.time()
        dialing.handler = first
        stopping.handler = second
        if budget is not None:
            budget.enter(first)
            budget.enter(second)
        first.bill(self.dialer.purse)
        second.bill(self.target.purse)
        if self.limit_s:
            self.reactor.arm(self, self.limit_s * 1000)

    cdef void check_stalled(self) noexcept:
        cdef Side first = self.first
        cdef Side second = self.second
        cdef bint now = (
            first.out.pending.capacity != 0 or second.out.pending.capacity != 0
            or first.unpaid.capacity != 0 or second.unpaid.capacity != 0
        )
        if now != self.stalled:
            self.stalled = now
            self.reactor.set_stalled(self, now)

    cdef void cut_off(self) noexcept:
        """Ends with a reset: at once for who sends, for who receives behind the bytes that are within the limit."""
        cdef Stream a = self.first.stream
        cdef Stream b = self.second.stream
        if self.ending:
            return
        self.ending = True
        if tp_bytequeue_size(&a.pending) or tp_bytequeue_size(&b.pending):
            self.reactor.arm(self, LINGER_MS)
        if tp_bytequeue_size(&a.pending) == 0:
            a.reset()
        if tp_bytequeue_size(&b.pending) == 0:
            b.reset()

    cdef void on_timer(self) noexcept:
        # Its time is over, or its parked bytes are needed elsewhere.
        self.ending = True
        self.first.stream.reset()
        self.second.stream.reset()

    cdef void end(self) noexcept:
        self.cancel_timer()
        if self.stalled:
            self.stalled = False
            self.reactor.set_stalled(self, False)
        if self.first.purse is not None:
            self.first.purse.part(self.first)
        if self.second.purse is not None:
            self.second.purse.part(self.second)
        self.first.drop_unpaid()
        self.second.drop_unpaid()
        self.owner.on_circuit_end(self)
        if self.first.budget is not None:
            self.first.budget.leave(self.first)
            self.second.budget.leave(self.second)
        self.first.circuit = self.second.circuit = None

    def close(self):
        """Resets both sides."""
        self.on_timer()

    @property
    def weight(self):
        """Its share of a rate, beside circuits of weight 1. ValueError outside of 0.01 to 100."""
        return self.first.weight

    @weight.setter
    def weight(self, double weight):
        if not 0.01 <= weight <= 100:
            raise ValueError(f"a weight is between 0.01 and 100, not {weight}")
        self.first.weight = self.second.weight = weight

    def weigh(self, double dialer, double target):
        """Gives each direction a weight of its own, that of its sender. ValueError as above."""
        if not (0.01 <= dialer <= 100 and 0.01 <= target <= 100):
            raise ValueError(f"a weight is between 0.01 and 100, not {dialer} or {target}")
        self.first.weight = dialer
        self.second.weight = target

    @property
    def dialer_id(self):
        return self.dialer.id

    @property
    def target_id(self):
        return self.target.id

    @property
    def bytes_in(self):
        """Bytes from the dialer to the target."""
        return self.first.bytes

    @property
    def bytes_out(self):
        """Bytes from the target to the dialer."""
        return self.second.bytes

    def take(self):
        """(bytes from the dialer to the target, bytes from the target to the dialer) since this was last called."""
        cdef Side first = self.first
        cdef Side second = self.second
        cdef uint64_t there = first.bytes - first.told
        cdef uint64_t back = second.bytes - second.told
        first.told = first.bytes
        second.told = second.bytes
        return there, back

    @property
    def dialer_remote(self):
        """Multiaddr (bytes) of the dialer's end of its connection."""
        return self.first.stream.session.channel.remote or b""

    @property
    def target_remote(self):
        """Likewise of the target's."""
        return self.second.stream.session.channel.remote or b""

    @property
    def age_s(self):
        return time.time() - self.opened_at
