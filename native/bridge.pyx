# cython: language_level=3
"""A stream spliced to a Unix socket, behind which another process serves its protocol. Never seen by Python.

Back pressure both ways: what the socket does not take waits here, at most the stream's first window of it, and is
granted anew only once taken; what the stream does not take is left in the socket. A process that dies closes its
sockets, and with them the streams.
"""
cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from towpath._native.appstream cimport AppStream
from towpath._native.core cimport (
    TP_YAMUX_WINDOW, tp_bytequeue_drop, tp_bytequeue_free, tp_bytequeue_head, tp_bytequeue_push, tp_bytequeue_size,
)
from towpath._native.negotiate cimport Proposing
from towpath._native.reactor cimport HEADROOM, Pollable
from towpath._native.session cimport Handler, Stream
from towpath._native.system cimport (
    EAGAIN, EINTR, EPOLLET, EPOLLIN, EPOLLOUT, MSG_NOSIGNAL, SHUT_WR, close, errno, recv, send, shutdown,
)

cdef enum:
    READ = 65536               # bytes from the socket, an event
    LINGER_MS = 5000           # for what was said last, once the process is gone or the stream ended


@cython.no_gc
cdef class Side(Handler):
    """What the stream leads to."""

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        self.bridge.take(p, n)

    cdef void on_fin(self, Stream s) noexcept:
        self.bridge.ended_there = True
        self.bridge.end_output()

    cdef void on_reset(self, Stream s) noexcept:
        self.bridge.end()

    cdef void on_window(self, Stream s) noexcept:
        if tp_bytequeue_size(&s.pending) == 0:
            self.bridge.watch()

    cdef void on_gone(self, Stream s) noexcept:
        self.bridge.stream_gone()

    cdef void on_selected(self, Stream s, bint selected) noexcept:
        if selected:
            self.bridge.watch()
        else:
            self.bridge.stream_gone()

    cdef void on_timer(self) noexcept:
        # The process takes nothing, and the memory is needed elsewhere (Reactor.hold).
        self.bridge.end()


@cython.no_gc
cdef class Bridge(Pollable):
    """The socket's end, which it owns and closes."""

    def __init__(self):
        raise TypeError("bridges are made by splice()")

    def __dealloc__(self):
        tp_bytequeue_free(&self.out)

    # --- from the stream to the socket ---------------------------------------------------------

    cdef void take(self, uint8_t* p, size_t n) noexcept:
        cdef ssize_t sent = 0
        if self.fd < 0:
            return
        self.bytes_in += n
        self.used_ms = self.reactor.now_ms
        if tp_bytequeue_size(&self.out) == 0:
            sent = send(self.fd, p, n, MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.process_gone()
                    return
                sent = 0
            self.took(sent)
        if <size_t>sent == n:
            return
        if tp_bytequeue_push(&self.out, p + sent, n - sent) != 0:
            self.end()
            return
        self.watch()
        self.count()

    cdef void took(self, size_t n) noexcept:
        cdef uint32_t granted
        self.consumed += <uint32_t>n
        if self.consumed >= TP_YAMUX_WINDOW >> 1 and self.stream is not None:
            granted = self.consumed
            self.consumed = 0
            self.stream.grant(granted)

    cdef void on_writable(self) noexcept:
        cdef ssize_t sent
        if tp_bytequeue_size(&self.out):
            sent = send(self.fd, tp_bytequeue_head(&self.out), tp_bytequeue_size(&self.out), MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.process_gone()
                return
            tp_bytequeue_drop(&self.out, sent)
            self.used_ms = self.reactor.now_ms
            self.took(sent)
            self.count()
        self.watch()
        self.end_output()

    cdef void count(self) noexcept:
        # Last in its caller: over budget, whoever has been stalled longest ends here, perhaps this one.
        cdef size_t before = self.counted
        cdef size_t now = self.out.capacity
        self.counted = now
        self.reactor.set_stalled(self.side, now != 0)
        if now > before:
            self.reactor.hold(now - before)
        else:
            self.reactor.unhold(before - now)

    cdef void end_output(self) noexcept:
        # The end of the stream follows its bytes.
        if self.fd < 0 or not self.ended_there or tp_bytequeue_size(&self.out):
            return
        if self.stream is None:
            self.end()
        else:
            shutdown(self.fd, SHUT_WR)

    # --- from the socket to the stream ---------------------------------------------------------

    cdef void on_readable(self) noexcept:
        cdef uint8_t* at = self.reactor.rx + HEADROOM
        cdef Stream s = self.stream
        cdef ssize_t n
        if self.ended_here or s is None:
            self.process_gone()        # a hang-up: nothing else is watched
            return
        n = recv(self.fd, at, READ, 0)
        if n < 0:
            if errno != EAGAIN and errno != EINTR:
                self.process_gone()
            return
        if n == 0:
            self.ended_here = True
            self.watch()
            s.close_write()
            return
        self.bytes_out += n
        self.used_ms = self.reactor.now_ms
        if s.send(at, n, True) != 0:
            self.end()
        elif tp_bytequeue_size(&s.pending):
            self.watch()

    cdef void watch(self) noexcept:
        cdef uint32_t interest = 0
        cdef Stream s = self.stream
        if self.fd < 0:
            return
        if tp_bytequeue_size(&self.out):
            interest |= EPOLLOUT
        if s is not None and not self.ended_here and tp_bytequeue_size(&s.pending) == 0:
            interest |= EPOLLIN
        # A hang-up is told in any case; once, unless something is watched.
        self.reactor.want(self, interest if interest else EPOLLET)

    # --- its end -------------------------------------------------------------------------------

    cdef void process_gone(self) noexcept:
        """Nobody reads what comes: what was said last goes out, then the stream ends."""
        cdef Stream s = self.stream
        self.ended_here = True
        if s is not None:
            s.close_write()
        self.close_socket()
        if self.stream is not None:
            self.reactor.arm(self, LINGER_MS)
        self.finish()

    cdef void stream_gone(self) noexcept:
        self.stream = None
        if self.fd >= 0 and self.ended_there and tp_bytequeue_size(&self.out):
            self.watch()
            self.reactor.arm(self, LINGER_MS)
            return
        self.close_socket()
        self.finish()

    cdef void end(self) noexcept:
        """Ends both at once."""
        cdef Stream s = self.stream
        self.close_socket()
        if s is not None:
            s.reset()
            self.stream = None         # while its protocol was being agreed on, nobody told so
        self.finish()

    cdef void close_socket(self) noexcept:
        cdef int fd = self.fd
        if fd < 0:
            return
        self.reactor.unregister(self)
        self.fd = -1
        close(fd)
        tp_bytequeue_free(&self.out)
        self.count()

    cdef void finish(self) noexcept:
        cdef object on_end = self.on_end
        if self.fd >= 0 or self.stream is not None:
            return
        self.cancel_timer()
        self.side = None
        self.on_end = None
        if on_end is None:
            return
        try:
            on_end()
        except Exception as error:
            self.reactor.loop.call_exception_handler({"message": "who waits for a bridge failed", "exception": error})

    cdef void on_timer(self) noexcept:
        cdef uint64_t unused = self.reactor.now_ms - self.used_ms
        if self.fd >= 0 and self.stream is not None and unused < self.idle_ms:
            self.reactor.arm(self, self.idle_ms - unused)
        else:
            self.end()

    @property
    def ended(self):
        """Is nothing left of either?"""
        return self.fd < 0 and self.stream is None

    def close(self):
        """Resets the stream and closes the socket."""
        self.end()


def splice(AppStream a not None, int fd, uint64_t idle_ms=60000):
    """Lets a stream and a connected, non-blocking Unix socket carry on one another's bytes from now on. Both are the
    bridge's; nobody may wait at the AppStream. `on_end`, set afterwards, is called once nothing is left of either;
    after idle_ms without a byte both end. The stream's protocol need not be agreed on yet: what the socket brings
    follows the proposal at once, and if the other side does not speak it both end. OSError when the socket cannot be
    watched: then it is closed and the stream reset."""
    cdef Bridge b = Bridge.__new__(Bridge)
    cdef Side side = Side.__new__(Side)
    cdef Stream s = a.stream
    b.reactor = a.session_.channel.reactor
    b.idle_ms = idle_ms
    b.used_ms = b.reactor.now_ms
    if s.gone:
        close(fd)
        b.finish()
        return b
    a.cancel_timer()
    b.fd = fd
    try:
        b.reactor.register(b, EPOLLIN)
    except OSError:
        b.fd = -1
        close(fd)
        s.reset()
        raise
    b.stream = s
    b.side = side
    side.bridge = b
    if a.opener is None:
        s.handler = side
    else:
        (<Proposing>s.handler).then = side
    b.reactor.arm(b, idle_ms)
    if tp_bytequeue_size(&a.inbox):
        b.take(tp_bytequeue_head(&a.inbox), tp_bytequeue_size(&a.inbox))
        tp_bytequeue_free(&a.inbox)
    if a.ended and b.stream is not None:
        side.on_fin(s)
    return b
