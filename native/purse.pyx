# cython: language_level=3
"""A purse: what one account may send through circuits before it signs for it. Owned by whoever bills the account.

What is carried never passes the ceiling: what comes beyond it, in the windows that streams begin with, waits in its
circuit for a signature. So that little does, credit counts as soon as it is granted, also while nothing is sent on it.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from towpath._native.budget cimport Claimant
from towpath._native.core cimport tp_bytequeue_size
from towpath._native.reactor cimport Reactor

cdef enum:
    LEAST = 65536              # with so much ahead nobody needs more, when little is left
    BESIDE = 131072            # what one gets then: with LEAST still less than a stream begins with

cdef uint64_t NEVER = 0xFFFFFFFFFFFFFFFFu


cdef class Purse:
    """`due()` is called by the loop, once until the next `allow`, when so much was carried that a signature is due, or
    when a sender has to wait for one. `Relay.bill` says whose purse it is."""

    def __init__(self, Reactor reactor not None, due not None):
        self.loop = reactor.loop
        self.due = due
        self.waiting = []
        self.ask_at = NEVER

    def allow(self, uint64_t signed, uint64_t ask_at, uint64_t ceiling):
        """So many of the bytes carried are signed for; `due` comes when `ask_at` bytes were carried; no more than
        `ceiling` may be, all together. Whoever waited goes on."""
        cdef Claimant c
        cdef list waiting = self.waiting
        self.signed = signed
        self.ask_at = ask_at
        self.ceiling = ceiling
        self.asked = False
        self.waiting = []
        for c in waiting:
            c.purse_short = False
            c.resume()
        if self.carried >= self.ask_at:
            self._ask()

    @property
    def short(self):
        """Is there a sender that can send nothing before a signature comes?"""
        cdef Claimant c
        for c in self.waiting:
            if c.stream.recv_window == 0 or tp_bytequeue_size(&c.unpaid):
                return True
        return False

    cdef void join(self, Claimant c) noexcept:
        """A direction of a circuit whose sender's purse this is, from now on."""
        cdef uint64_t ahead = c.stream.recv_window + tp_bytequeue_size(&c.unpaid)
        c.purse = self
        c.endowed = c.bytes + ahead
        self.granted += ahead

    cdef void part(self, Claimant c) noexcept:
        """It has ended, or is somebody else's business: what it did not send is free for others."""
        if c.purse is not self:
            return
        self.granted -= <int64_t>(c.endowed - c.bytes)
        if c.purse_short:
            c.purse_short = False
            # Not there when `allow` is just telling those that waited.
            if c in self.waiting:
                self.waiting.remove(c)
        c.purse = None

    cdef size_t carry(self, Claimant c, size_t n) noexcept:
        """How many of n bytes that came from its sender are carried; if not all, it is resumed after `allow`."""
        cdef uint64_t left = self.ceiling - min(self.carried, self.ceiling)
        cdef bint short = n > left
        if short:
            n = <size_t>left
            self._wait(c)
        self.carried += n
        if short or self.carried >= self.ask_at:
            self._ask()
        return n

    cdef uint32_t take(self, Claimant c, uint32_t want) noexcept:
        """How much of the credit that a side wants it may get; 0: it has enough for now, or waits, and is asked again
        when it has used that, or after `allow`."""
        cdef int64_t ahead = c.stream.recv_window
        cdef int64_t left = <int64_t>self.ceiling - self.granted
        if left < LEAST:
            # What else is granted may lie idle in other circuits: then this one goes on, and asks again behind that.
            left = min(<int64_t>self.ceiling - <int64_t>self.carried - ahead, <int64_t>BESIDE)
            if left > 0 and ahead >= LEAST:
                return 0
        if left > 0:
            return <uint32_t>min(left, <int64_t>want)
        self._wait(c)
        if ahead == 0 and self.carried > self.signed:
            self._ask()
        return 0

    cdef void note(self, Claimant c, uint32_t n) noexcept:
        """It was granted so much."""
        c.endowed += n
        self.granted += n

    cdef void _wait(self, Claimant c) noexcept:
        if not c.purse_short:
            c.purse_short = True
            self.waiting.append(c)

    cdef void _ask(self) noexcept:
        if not self.asked:
            self.asked = True
            self.loop.call_soon(self.due)
