# cython: language_level=3
"""The receive window of a stream that ends here: how what was read is granted anew, and when the window grows."""
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from towpath._native.core cimport TP_YAMUX_WINDOW
from towpath._native.session cimport Handler, Stream

cdef enum:
    WINDOW_MAX = 16777216


@cython.no_gc
cdef class Reader(Handler):
    """Base of handlers that take a stream's bytes for themselves. The window starts at yamux's 256 KiB and doubles
    while its reader needs each half of it within four round trips, up to 16 MiB."""

    def __cinit__(self):
        self.window = TP_YAMUX_WINDOW

    cdef void consume(self, Stream s, size_t n) noexcept:
        """n bytes were read: grants them anew once they are half of the window."""
        cdef uint64_t now
        cdef uint32_t grant
        self.consumed += <uint32_t>n
        if self.consumed < self.window >> 1 or s.gone or s.fin_received:
            return
        now = s.session.channel.reactor.clock_ns()
        if self.window < WINDOW_MAX and self.granted_ns and (now - self.granted_ns) * 1e-9 < 4 * s.session.rtt_s:
            self.consumed += self.window
            self.window *= 2
        if self.granted_ns == 0 and s.session.rtt_s == 0:
            s.session.ping()
        self.granted_ns = now
        grant = self.consumed
        self.consumed = 0
        s.grant(grant)
