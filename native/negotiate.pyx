# cython: language_level=3
"""Which protocol a stream speaks: multistream-select 1.0, as listener and as dialer.

The listener answers each line at once. The dialer proposes one protocol and may send its first message along,
before the answer: one round trip less.
Source: github.com/multiformats/multistream-select.
"""
cimport cython
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from towpath._native.core cimport (
    tp_bytequeue_drop, tp_bytequeue_free, tp_bytequeue_head, tp_bytequeue_push, tp_bytequeue_size,
    tp_multistream_get, tp_multistream_put,
)
from towpath._native.session cimport Handler, Session, Stream

cdef enum:
    PROPOSALS_MAX = 32
    NEGOTIATION_MS = 30000

cdef bytes HEADER = b"\x13/multistream/1.0.0\n"
cdef bytes HEADER_TEXT = b"/multistream/1.0.0"
cdef bytes NOT_AVAILABLE = b"\x03na\n"


cdef class Protocol:
    """An inbound protocol of an endpoint."""

    cdef void accept(self, Session session, Stream s) noexcept:
        pass


@cython.no_gc
cdef class Listening(Handler):
    """The handler of an inbound stream until it has chosen a protocol; after NEGOTIATION_MS it is reset."""

    def __dealloc__(self):
        tp_bytequeue_free(&self.received)

    cdef void on_timer(self) noexcept:
        cdef Stream s = self.stream
        self.stream = None
        s.reset()

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        cdef const uint8_t* text
        cdef size_t text_n
        cdef int used
        if tp_bytequeue_push(&self.received, p, n) != 0:
            s.reset()
            return
        while tp_bytequeue_size(&self.received):
            used = tp_multistream_get(
                tp_bytequeue_head(&self.received), tp_bytequeue_size(&self.received), &text, &text_n)
            if used == 0:
                return
            self.lines += 1
            if used < 0 or self.lines > PROPOSALS_MAX:
                s.reset()
                return
            if self.lines == 1:
                if not same(text, text_n, HEADER_TEXT):
                    s.reset()
                    return
                s.send(<uint8_t*><const uint8_t*>HEADER, len(HEADER), False)
                tp_bytequeue_drop(&self.received, used)
            else:
                self._select(s, text, text_n, used)
            if s.gone or s.negotiated:
                return

    cdef void _select(self, Stream s, const uint8_t* text, size_t n, size_t used) noexcept:
        cdef bytes name = text[:n]
        cdef object found = self.protocols.get(name)
        cdef uint8_t* line = tp_bytequeue_head(&self.received)
        cdef Handler handler
        if found is None:
            s.send(<uint8_t*><const uint8_t*>NOT_AVAILABLE, len(NOT_AVAILABLE), False)
            tp_bytequeue_drop(&self.received, used)
            return
        s.send(line, used, False)
        if s.gone:
            return
        self.cancel_timer()
        self.stream = None
        s.session.set_negotiated(s)
        (<Protocol>found).accept(s.session, s)
        n = tp_bytequeue_size(&self.received) - used
        if n and not s.gone:
            handler = s.handler
            handler.on_data(s, line + used, n)

    cdef void on_fin(self, Stream s) noexcept:
        s.reset()


@cython.no_gc
cdef class Proposing(Handler):
    """The handler of an outbound stream until the other side agreed to the protocol; gives up after NEGOTIATION_MS."""

    def __dealloc__(self):
        tp_bytequeue_free(&self.received)

    cdef void on_timer(self) noexcept:
        cdef Stream s = self.stream
        cdef Handler then = self.then
        self.stream = None
        s.reset()
        then.on_unanswered(s)

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        cdef const uint8_t* text
        cdef uint8_t* at
        cdef size_t text_n
        cdef int used
        cdef Handler then = self.then
        if tp_bytequeue_push(&self.received, p, n) != 0:
            s.reset()
            then.on_selected(s, False)
            return
        while tp_bytequeue_size(&self.received):
            at = tp_bytequeue_head(&self.received)
            n = tp_bytequeue_size(&self.received)
            used = tp_multistream_get(at, n, &text, &text_n)
            if used == 0:
                return
            self.lines += 1
            if used < 0 or not same(text, text_n, HEADER_TEXT if self.lines == 1 else self.protocol):
                s.reset()
                then.on_selected(s, False)
                return
            if self.lines == 2:
                self.cancel_timer()
                self.stream = None
                s.handler = then
                then.on_selected(s, True)
                if not s.gone and n > <size_t>used:
                    then = s.handler
                    then.on_data(s, at + used, n - used)
                return
            tp_bytequeue_drop(&self.received, used)

    cdef void on_fin(self, Stream s) noexcept:
        cdef Handler then = self.then
        s.reset()
        then.on_unanswered(s)

    cdef void on_reset(self, Stream s) noexcept:
        self.then.on_unanswered(s)


cdef inline bint same(const uint8_t* text, size_t n, bytes expected) noexcept:
    return n == <size_t>len(expected) and memcmp(text, <const char*>expected, n) == 0


cdef void listen(Session session, Stream s, dict protocols) noexcept:
    """Lets a new inbound stream choose among `protocols` (bytes → Protocol)."""
    cdef Listening h = Listening.__new__(Listening)
    h.protocols = protocols
    h.stream = s
    s.handler = h
    session.channel.reactor.arm(h, NEGOTIATION_MS)


cdef Stream propose(Session session, bytes protocol, Handler then, bytes first):
    """Opens a stream for `protocol`, sending `first` (may be empty) along. then.on_selected tells how it went; from
    then on the stream is then's. None when the session takes no more streams."""
    cdef Proposing h = Proposing.__new__(Proposing)
    cdef Stream s
    cdef uint8_t opening[1100]
    cdef size_t n = len(HEADER)
    cdef int line
    h.then = then
    h.protocol = protocol
    s = session.open_stream(h)
    if s is None:
        return None
    h.stream = s
    session.channel.reactor.arm(h, NEGOTIATION_MS)
    s.send(<uint8_t*><const uint8_t*>HEADER, n, False)
    line = tp_multistream_put(opening, sizeof(opening), <const char*>protocol, len(protocol))
    if line < 0:
        s.reset()
        return None
    s.send(opening, line, False)
    if first:
        s.send(<uint8_t*><const uint8_t*>first, len(first), False)
    return s
