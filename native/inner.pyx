# cython: language_level=3
"""The channel inside a circuit: end-to-end Noise whose bytes travel in a stream instead of a socket."""
cimport cython
from libc.stdint cimport uint8_t, uint64_t

from towpath._native.channel cimport Channel
from towpath._native.core cimport tp_bytequeue_size
from towpath._native.session cimport Stream
from towpath._native.window cimport Reader

cdef enum:
    CLOSE_MS = 10000           # for the other side to close its half, too


@cython.no_gc
cdef class StreamChannel(Channel):
    """A channel over a stream of another session, which it owns."""

    cdef void over(self, Stream s) noexcept:
        """Takes the stream over; `start` comes next."""
        cdef Carrier carrier = Carrier.__new__(Carrier)
        carrier.channel = self
        self.stream = s
        s.handler = carrier

    cdef ssize_t transmit(self, const uint8_t* p, size_t n) noexcept:
        cdef Stream s = self.stream
        if s is None or s.gone:
            return -1
        if tp_bytequeue_size(&s.pending):
            return 0
        # A chunk has room before its data, and behind that lie bytes already sent: the outer header may go there.
        if s.send(<uint8_t*>p, n, True) != 0:
            return -1
        s.session.sent_in_circuits += n
        return <ssize_t>n

    cdef void waiting_to_send(self, bint waiting) noexcept:
        self.blocked = waiting
        if not waiting and self.open:
            self.cancel_timer()

    cdef uint64_t rtt_us(self, uint64_t now_ms) noexcept:
        return self.stream.session.channel.rtt_us(now_ms)

    cdef void shut(self) noexcept:
        cdef Stream s = self.stream
        if s is None or s.gone:
            return
        if self.closing:
            s.close_write()
            if not s.gone:
                self.reactor.arm(s.handler, CLOSE_MS)
        else:
            s.reset()


@cython.no_gc
cdef class Carrier(Reader):
    """Hands a stream's bytes to the channel inside and grants them anew: what waits, waits in the inner session's
    streams."""

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        cdef StreamChannel channel = self.channel
        if channel.closed:
            return
        channel.feed_piece(p, n)
        self.consume(s, n)

    cdef void on_window(self, Stream s) noexcept:
        cdef StreamChannel channel = self.channel
        if channel.blocked and tp_bytequeue_size(&s.pending) == 0:
            channel.blocked = False
            channel.reactor.mark_dirty(channel)

    cdef void on_fin(self, Stream s) noexcept:
        cdef StreamChannel channel = self.channel
        channel.closing = True
        channel.fail("the other side closed the connection")

    cdef void on_reset(self, Stream s) noexcept:
        cdef StreamChannel channel = self.channel
        channel.fail("the circuit was reset")

    cdef void on_timer(self) noexcept:
        cdef StreamChannel channel = self.channel
        channel.stream.reset()

    cdef void on_gone(self, Stream s) noexcept:
        pass
