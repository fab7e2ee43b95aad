# cython: language_level=3
"""`/ipfs/ping/1.0.0`: every 32 bytes come back as they are (libp2p specs, ping). On one stream, more than 10 a second
after 50 end the connection."""
cimport cython
from libc.stdint cimport uint8_t, uint32_t

from towpath._native.core cimport tp_bytequeue_size
from towpath._native.negotiate cimport Protocol
from towpath._native.session cimport Handler, PingAllowance, Session, Stream, take_ping

cdef enum:
    PING = 32


cdef class PingProtocol(Protocol):
    """The listener's side."""

    cdef void accept(self, Session session, Stream s) noexcept:
        s.handler = Echo.__new__(Echo)


@cython.no_gc
cdef class Echo(Handler):
    """Returns what it gets; grants anew only what has gone out, so an unread answer stops the asker."""

    cdef size_t counted
    cdef PingAllowance allowance
    cdef uint32_t owed

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        self.counted += n
        while self.counted >= PING:
            self.counted -= PING
            if not take_ping(&self.allowance, s.session.channel.reactor.now_ms):
                s.session.violate("more pings than 10 a second")
                return
        self.owed += <uint32_t>n
        s.send(p, n, False)
        self.on_window(s)

    cdef void on_window(self, Stream s) noexcept:
        cdef uint32_t n = self.owed
        if n >= 4096 and tp_bytequeue_size(&s.pending) == 0:
            self.owed = 0
            s.grant(n)

    cdef void on_fin(self, Stream s) noexcept:
        s.close_write()
