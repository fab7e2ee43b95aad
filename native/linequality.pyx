# cython: language_level=3
"""What the kernel knows of the lines that an endpoint's sockets use, and how fast one of them may send.

A socket that has moved some bytes notes itself once; `LineWatch.sample` asks the kernel about those noted and about no
other, so that thousands of quiet connections cost nothing. relay/queue_guard.py decides what follows.
"""
from collections import deque

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from towpath._native.channel cimport Channel, SocketChannel, Observer
from towpath._native.endpoint cimport Endpoint
from towpath._native.session cimport Session
from towpath._native.system cimport (
    IPPROTO_TCP, SO_MAX_PACING_RATE, SOL_SOCKET, TCP_INFO, TCP_NOTSENT_LOWAT, getsockopt, setsockopt, socklen_t,
    tcp_info,
)

cdef enum:
    LOWAT_MIN = 16384          # unsent bytes that a slowed socket keeps in the kernel: at least this,
    LOWAT_PER_S = 10           # else a tenth of a second's worth
    IP4 = 0x04                 # first byte of a multiaddr


cdef class LineWatch(Observer):
    """Samples the sockets of `endpoint` between `start` and `stop`. `on_moving()` is called when, after a sample that
    left none, a socket has bytes to tell of: at most once a sample."""

    def __init__(self, Endpoint endpoint not None):
        self.endpoint = endpoint
        self.noted = deque()

    def start(self):
        """Watches the sockets there are and those to come."""
        cdef SocketChannel c
        self.watching = True
        self.endpoint.observer = self
        for c in self.endpoint.socket_channels():
            c.observer = self

    def stop(self):
        """Watches none any more."""
        cdef SocketChannel c
        self.watching = False
        if self.endpoint.observer is self:
            self.endpoint.observer = None
        for c in self.endpoint.socket_channels():
            if c.observer is self:
                c.observer = None
                c.noted = False
        self.noted.clear()

    cdef void note(self, Channel c) noexcept:
        self.noted.append(c)
        if len(self.noted) == 1 and self.on_moving is not None:
            self.on_moving()

    def sample(self, int most=64):
        """Rows of at most `most` sockets that moved bytes since their last sample; the others come first next time.

        A row: (session, network prefix of the other end (/24 or /48), smoothed round trip, least round trip of the last
        minutes, mean deviation (microseconds each), bytes acknowledged and bytes received since the last sample,
        seconds since the last sample or 0.0 when there was none).
        """
        cdef list rows = []
        cdef SocketChannel c
        cdef tcp_info info
        cdef socklen_t n
        cdef uint64_t now = self.endpoint.reactor.clock_ns()
        cdef bytes remote
        most = min(most, <int>len(self.noted))
        while most > 0:
            most -= 1
            c = self.noted.popleft()
            c.noted = False
            c.moved = 0
            n = sizeof(info)
            memset(&info, 0, n)        # an older kernel fills less of it
            if c.closed or not c.open or getsockopt(c.fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0:
                continue
            remote = c.remote
            rows.append((
                c.upper,
                remote[1:4] if remote[0] == IP4 else remote[1:7],
                info.tcpi_rtt,
                info.tcpi_min_rtt,
                info.tcpi_rttvar,
                info.tcpi_bytes_acked - c.sampled_acked,
                info.tcpi_bytes_received - c.sampled_received,
                (now - c.sampled_ns) * 1e-9 if c.sampled_ns else 0.0,
            ))
            c.sampled_ns = now
            c.sampled_acked = info.tcpi_bytes_acked
            c.sampled_received = info.tcpi_bytes_received
        return rows


def pace(Session session not None, bytes_per_second):
    """Lets the session's socket send at most so much from now on; None: as fast as TCP likes. False when it has none.

    The kernel does the pacing, with whatever queueing discipline; the socket then takes fewer bytes from us, so that
    streams are held back, and credit from those who send to them.
    """
    cdef SocketChannel c
    cdef uint64_t rate = 0xFFFFFFFFFFFFFFFFu
    cdef uint32_t lowat = 0
    if session.closed or not isinstance(session.channel, SocketChannel):
        return False
    c = session.channel
    if bytes_per_second is not None:
        rate = max(1, <uint64_t>bytes_per_second)
        lowat = <uint32_t>min(0x7FFFFFFF, max(<uint64_t>LOWAT_MIN, rate // LOWAT_PER_S))
    setsockopt(c.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat))
    return setsockopt(c.fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)) == 0
