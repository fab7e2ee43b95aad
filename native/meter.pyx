# cython: language_level=3
"""The meter: counts the bytes of some sockets and holds them to a rate, byte by byte, at `recv` and at `send`.

A socket asks how many bytes it may move. When there are no tokens it is held: no longer watched, but standing in a
queue where its turn comes a few milliseconds later, so that a new connection's handshake waits as long as anybody and
no longer. Sent and received bytes have a bucket each, because the larger of both is what is limited. What the kernel
received meanwhile waits in its buffer and closes the sender's TCP window.

`budget.pyx` derives from it and deals in circuits; this file knows only sockets.
"""
from collections import deque

from libc.stdint cimport int64_t, uint8_t, uint64_t

from towpath._native.core cimport tp_bucket, tp_bucket_fill, tp_bucket_take, tp_bucket_wait_ns
from towpath._native.reactor cimport Pollable, Reactor

cdef enum:
    LEAST = 1024               # bytes for which a system call is worth its while
    SERVE_NS = 100000          # after so long turns go on in a tick of their own, so that others get at the loop

cdef uint64_t NEVER = 0xFFFFFFFFFFFFFFFFu
cdef int64_t AS_MUCH = 0x7FFFFFFFFFFFFFFF


cdef class Meter:
    """Base of Budget. `may_receive` and `may_send` are asked only while `limited` is set or the socket has a pace of
    its own (`own`, NULL for none)."""

    def __cinit__(self, Reactor reactor not None):
        self.reactor = reactor
        self.end_received = self.end_sent = NEVER
        self.granted_received = self.granted_sent = NEVER
        self.watch_received = self.watch_sent = NEVER
        self.turn = NEVER
        self.receiving = deque()
        self.sending = deque()
        self.receiving_slowly = deque()
        self.sending_slowly = deque()

    cdef int64_t may_receive(self, Pace* own) noexcept:
        """Bytes that a socket may receive now; 0: it is to be held; -1: never any more."""
        cdef int64_t most = AS_MUCH
        if self.received >= self.watch_received:
            self.on_short()
        if self.received >= self.end_received:
            return -1
        if self.received >= self.granted_received:
            self.on_ungranted()
            return 0
        if own != NULL:
            most = tokens(&own.receive, self.reactor.now_ns, LEAST)
            if most == 0:
                return 0
        if self.receive.rate:
            if self.receiving and not self.serving:
                return 0
            most = min(most, min(tokens(&self.receive, self.reactor.now_ns, LEAST), <int64_t>self.turn))
            if most == 0:
                self.on_short()
        return min(most, <int64_t>min(min(self.end_received, self.granted_received) - self.received, <uint64_t>AS_MUCH))

    cdef int64_t may_send(self, Pace* own) noexcept:
        """The same of bytes to be sent."""
        cdef int64_t most = AS_MUCH
        if self.sent >= self.watch_sent:
            self.on_short()
        if self.sent >= self.end_sent:
            return -1
        if self.sent >= self.granted_sent:
            self.on_ungranted()
            return 0
        if own != NULL:
            most = tokens(&own.send, self.reactor.now_ns, LEAST)
            if most == 0:
                return 0
        if self.send.rate:
            if self.sending and not self.serving:
                return 0
            most = min(most, min(tokens(&self.send, self.reactor.now_ns, LEAST), <int64_t>self.turn))
            if most == 0:
                self.on_short()
        return min(most, <int64_t>min(min(self.end_sent, self.granted_sent) - self.sent, <uint64_t>AS_MUCH))

    cdef void was_received(self, uint64_t n, Pace* own) noexcept:
        """Counts n received bytes against all limits; `received` itself is its caller's to raise."""
        tp_bucket_take(&self.receive, n)
        if own != NULL:
            tp_bucket_take(&own.receive, n)

    cdef void was_sent(self, uint64_t n, Pace* own) noexcept:
        tp_bucket_take(&self.send, n)
        if own != NULL:
            tp_bucket_take(&own.send, n)

    cdef bint others_wait(self, uint8_t what) noexcept:
        """Shall a socket that has had its turn stand aside, because others wait or nothing is left?"""
        if what == RECEIVING:
            return bool(self.receiving) or self.receive.tokens < LEAST
        return bool(self.sending) or self.send.tokens < LEAST

    cdef void hold(self, Pollable p, uint8_t what, Pace* own) noexcept:
        """Lets p wait for its turn: then its on_readable or its on_flush is called. Whoever holds it stops watching it
        meanwhile."""
        cdef bint slowly
        if p.held & what:
            return
        p.held |= what
        if what == RECEIVING:
            slowly = own != NULL and own.receive.tokens < LEAST
            (self.receiving_slowly if slowly else self.receiving).append(p)
        else:
            slowly = own != NULL and own.send.tokens < LEAST
            (self.sending_slowly if slowly else self.sending).append(p)
        self.tick_soon()

    # --- turns -------------------------------------------------------------------------------

    cdef void tick_soon(self) noexcept:
        # In time to use the tokens before the bucket is full, with as much to spare for a late call.
        cdef uint64_t wait = 4000000
        if self.handle is not None or self.ticking or self.reactor.closed:
            return
        if self.receiving and self.receive.rate:
            wait = min(wait, tp_bucket_wait_ns(&self.receive, self.receive.burst >> 1))
        if self.sending and self.send.rate:
            wait = min(wait, tp_bucket_wait_ns(&self.send, self.send.burst >> 1))
        self.handle = self.reactor.loop.call_later(max(wait, <uint64_t>1000000) * 1e-9, self._tick)

    def _tick(self):
        cdef bint more
        self.handle = None
        if self.reactor.closed:
            self._let_go()
            return
        self.reactor.begin_slice()
        self.serving = self.ticking = True
        self._serve(self.receiving_slowly, RECEIVING, NULL)
        self._serve(self.sending_slowly, SENDING, NULL)
        more = self._serve(self.sending, SENDING, &self.send)
        more |= self._serve(self.receiving, RECEIVING, &self.receive)
        self.serving = False
        self.on_tick()
        self.reactor.end_slice()
        self.ticking = False
        if more:
            self.handle = self.reactor.loop.call_soon(self._tick)
        elif not self.at_rest():
            self.tick_soon()

    cdef bint at_rest(self) noexcept:
        """Does nobody wait for the next tick?"""
        return not (self.receiving or self.sending or self.receiving_slowly or self.sending_slowly)

    cdef bint _ungranted(self, uint8_t what) noexcept:
        # Must whoever moves something wait until more is granted?
        if what == RECEIVING:
            return self.granted_received <= self.received < self.end_received
        return self.granted_sent <= self.sent < self.end_sent

    cdef bint _serve(self, object waiting, uint8_t what, tp_bucket* bucket) noexcept:
        # Once round for those with a pace of their own; in turns, as long as tokens are left, for the others. True when
        # there was not the time to use all tokens.
        cdef Pollable p
        cdef object round_ = len(waiting)
        cdef uint64_t until = self.reactor.clock_ns() + SERVE_NS
        while waiting and round_:
            if self._ungranted(what):
                self.on_ungranted()
                return False
            if bucket == NULL:
                round_ -= 1
            elif tokens(bucket, self.reactor.now_ns, LEAST) == 0:
                return False
            elif self.reactor.clock_ns() > until:
                return True
            p = waiting.popleft()
            p.held &= ~what
            if p.fd < 0:
                continue
            if what == RECEIVING:
                p.on_readable()
            else:
                p.on_flush()
        return False

    def _let_go(self):
        # The reactor is closed.
        for waiting in (self.receiving, self.sending, self.receiving_slowly, self.sending_slowly):
            waiting.clear()

    cdef void on_tick(self) noexcept:
        pass

    cdef void on_short(self) noexcept:
        """Somebody could move more than may be moved now."""
        pass

    cdef void on_ungranted(self) noexcept:
        """Somebody waits until more is granted."""
        pass


cdef int64_t tokens(tp_bucket* b, uint64_t now_ns, uint64_t least) noexcept:
    # What a bucket gives, nothing when that is too little to bother.
    cdef uint64_t n
    if b.rate == 0:
        return AS_MUCH
    n = tp_bucket_fill(b, now_ns)
    return <int64_t>n if n >= least else 0
