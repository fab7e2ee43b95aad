# cython: language_level=3
"""The server's side of AutoNAT v2 (libp2p specs, autonat/autonat-v2.md): dials for others, and brings them their nonce.

It dials at most one address of a request, the one that policy named, with an identity made for that, and makes the
client pay in bytes first for an address that is not its own. Also what both sides say their messages with.
"""
cimport cython
import os

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from towpath._native.core cimport (
    TP_AUTONAT_DATA, TP_AUTONAT_DATA_REQUEST, TP_AUTONAT_DIAL_BACK_ERROR, TP_AUTONAT_DIAL_ERROR, TP_AUTONAT_DIAL_OK,
    TP_AUTONAT_INTERNAL_ERROR, TP_AUTONAT_MAX, TP_AUTONAT_OK, TP_AUTONAT_REJECTED, TP_AUTONAT_REQUEST,
    TP_AUTONAT_RESPONSE,
    tp_autonat_get, tp_autonat_msg, tp_autonat_put, tp_bytequeue, tp_bytequeue_drop, tp_bytequeue_free,
    tp_bytequeue_head, tp_bytequeue_push, tp_bytequeue_size, tp_dial_back_put, tp_varint_get, tp_varint_put,
)
from towpath._native.endpoint cimport Endpoint
from towpath._native.negotiate cimport Protocol, propose
from towpath._native.session cimport Handler, Session, Stream

DIAL_REQUEST = "/libp2p/autonat/2/dial-request"
DIAL_BACK = "/libp2p/autonat/2/dial-back"

cdef enum:
    READING                    # stages of a request that is served
    PAYING
    DIALING
    ANSWERED

cdef enum:
    REQUEST_MS = 15000         # for the request, and for the bytes to pay with
    DIAL_MS = 7000             # go's clients wait 15 s in all
    BACK_MS = 4000             # for the answer to a dial-back
    PIECE_MIN = 100            # bytes of payment in a message, so that it costs the payer more than the reader
    REQUESTS_MAX = 128         # under way at once; beyond, they are reset unread

cdef bytes DIAL_BACK_ID = DIAL_BACK.encode()
cdef bytes DIAL_REQUEST_ID = DIAL_REQUEST.encode()


cdef int frame(tp_bytequeue* q, size_t most, uint64_t* length) noexcept:
    # Bytes that the length prefix of the first message takes, once all of the message is there; 0: more is needed, -1:
    # it is longer than `most`, or no length.
    cdef int used
    if tp_bytequeue_size(q) == 0:
        return 0
    used = tp_varint_get(tp_bytequeue_head(q), tp_bytequeue_size(q), length)
    if used < 0 or (used > 0 and length[0] > most):
        return -1
    return used if used > 0 and tp_bytequeue_size(q) >= used + length[0] else 0


cdef bytes framed(const tp_autonat_msg* m):
    cdef uint8_t out[TP_AUTONAT_MAX]
    cdef uint8_t prefix[10]
    cdef int n = tp_autonat_put(out, TP_AUTONAT_MAX, m)
    if n < 0:
        raise ValueError("the message is longer than AutoNAT's 8192 bytes")
    return prefix[:tp_varint_put(prefix, n)] + out[:n]


cdef void send(Stream s, bytes data) noexcept:
    s.send(<uint8_t*><const uint8_t*>data, len(data), False)


cdef class DialService:
    """Serves others on one endpoint while `serve(True)` holds; see autonat.Autonat for `policy` and `done`."""

    def __init__(self, Endpoint endpoint not None, policy, done):
        self.endpoint = endpoint
        self.policy = policy
        self.done = done

    cdef void serve(self, bint on):
        if on:
            self.endpoint.protocols[DIAL_REQUEST_ID] = DialRequestProtocol(self)
        else:
            self.endpoint.protocols.pop(DIAL_REQUEST_ID, None)
        self.endpoint._publish()

    cdef void close(self):
        self.closed = True
        self.serve(False)
        if self.dialer is not None:
            self.dialer.close()
            self.dialer.abort()

    cdef Endpoint dialing_endpoint(self):
        # Its identity tells nobody who dials; a session of the client with us stays the only one it has with us.
        if self.dialer is None:
            self.dialer = Endpoint(self.endpoint.reactor, os.urandom(32), self.endpoint.agent)
        self.dialer.budget = self.endpoint.budget
        return self.dialer


cdef class DialRequestProtocol(Protocol):
    """`/libp2p/autonat/2/dial-request` of an endpoint that serves."""

    cdef DialService owner

    def __init__(self, DialService owner not None):
        self.owner = owner

    cdef void accept(self, Session session, Stream s) noexcept:
        cdef Serving h
        if self.owner.requests >= REQUESTS_MAX:
            s.reset()
            return
        h = Serving.__new__(Serving)
        self.owner.requests += 1
        h.owner = self.owner
        h.stream = s
        h.stage = READING
        s.handler = h
        session.channel.reactor.arm(h, REQUEST_MS)


@cython.no_gc
cdef class Serving(Handler):
    """A request until it is answered."""

    cdef DialService owner
    cdef Stream stream
    cdef tp_bytequeue received
    cdef int stage
    cdef bint admitted                 # by policy, which is to be told of the end
    cdef uint64_t nonce
    cdef uint64_t owed                 # bytes still to be paid
    cdef int index
    cdef str host
    cdef int port
    cdef uint64_t wait_ms
    cdef object dialing                # future of the session, or None

    def __dealloc__(self):
        tp_bytequeue_free(&self.received)

    cdef void on_timer(self) noexcept:
        if self.stage == DIALING and self.stream is not None:
            self.dial()
        elif self.stream is not None:
            self.stream.reset()

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        cdef uint64_t length
        cdef int used
        if self.stage >= DIALING:
            return
        if tp_bytequeue_push(&self.received, p, n) != 0:
            s.reset()
            return
        while self.stage < DIALING and not s.gone:
            used = frame(&self.received, TP_AUTONAT_MAX, &length)
            if used < 0:
                s.reset()
            if used <= 0:
                return
            self.message(s, tp_bytequeue_head(&self.received) + used, length)
            if not s.gone:
                tp_bytequeue_drop(&self.received, used + length)
        tp_bytequeue_free(&self.received)

    cdef void message(self, Stream s, const uint8_t* p, size_t n) noexcept:
        cdef tp_autonat_msg m
        if tp_autonat_get(p, n, &m) != 0:
            s.reset()
        elif self.stage == READING and m.kind == TP_AUTONAT_REQUEST:
            self.request(s, &m)
        elif self.stage == PAYING and m.kind == TP_AUTONAT_DATA:
            if m.data.n >= self.owed:
                self.prepare(s)
            elif m.data.n < PIECE_MIN:
                s.reset()
            else:
                self.owed -= m.data.n
        else:
            s.reset()

    cdef void request(self, Stream s, tp_autonat_msg* m) noexcept:
        cdef Session session = s.session
        cdef list addresses = [m.addrs[i].p[:m.addrs[i].n] for i in range(m.addrs_n)]
        cdef bytes remote = session.channel.remote or b""
        self.nonce = m.nonce
        if not remote or self.owner.closed:
            # Through a relay: nobody knows whose address it has.
            self.answer(s, TP_AUTONAT_REJECTED, 0)
            return
        try:
            verdict = self.owner.policy(session.channel.peer_id, remote, addresses)
            if isinstance(verdict, int):
                self.answer(s, verdict, 0)
                return
            self.admitted = True
            self.index, self.host, self.port, self.owed, self.wait_ms = verdict
        except Exception as error:
            session.channel.reactor.loop.call_exception_handler(
                {"message": "AutoNAT policy failed", "exception": error})
            self.answer(s, TP_AUTONAT_INTERNAL_ERROR, 0)
            return
        if self.owed == 0:
            self.prepare(s)
            return
        memset(m, 0, sizeof(m[0]))
        m.kind = TP_AUTONAT_DATA_REQUEST
        m.index = self.index
        m.bytes = self.owed
        self.stage = PAYING
        send(s, framed(m))
        if not s.gone:
            s.session.channel.reactor.arm(self, REQUEST_MS)

    cdef void prepare(self, Stream s) noexcept:
        self.stage = DIALING
        if self.wait_ms:
            s.session.channel.reactor.arm(self, self.wait_ms)
        else:
            self.dial()

    cdef void dial(self) noexcept:
        cdef Stream s = self.stream
        cdef Endpoint dialer = self.owner.dialing_endpoint()
        self.cancel_timer()
        try:
            self.dialing = dialer.dial(self.host, self.port, s.session.channel.peer_id, DIAL_MS)
        except Exception:
            # No route, no descriptor, or this node is closing: nothing that the client's address is to blame for but
            # the first, which the specification calls a dial error, too.
            self.answer(s, TP_AUTONAT_OK, TP_AUTONAT_DIAL_ERROR)
            return
        self.dialing.add_done_callback(self.dialed)

    def dialed(self, future):
        cdef Stream s = self.stream
        cdef Session session
        cdef Returning back
        cdef uint8_t out[16]
        cdef int n
        self.dialing = None
        if future.cancelled():
            return
        if future.exception() is not None:
            if s is not None:
                self.answer(s, TP_AUTONAT_OK, TP_AUTONAT_DIAL_ERROR)
            return
        session = future.result()
        if s is None:
            session.abort()
            return
        n = tp_dial_back_put(out + 1, 15, self.nonce)
        out[0] = <uint8_t>n
        back = Returning.__new__(Returning)
        back.serving = self
        back.session = session
        back.stream = propose(session, DIAL_BACK_ID, back, out[:n + 1])
        if back.stream is None:
            self.returned(session, False)
            return
        session.channel.reactor.arm(back, BACK_MS)

    cdef void returned(self, Session session, bint delivered) noexcept:
        """The dial-back has ended."""
        session.close()
        if self.stream is not None:
            self.answer(self.stream, TP_AUTONAT_OK, TP_AUTONAT_DIAL_OK if delivered else TP_AUTONAT_DIAL_BACK_ERROR)

    cdef void answer(self, Stream s, int status, int dial_status) noexcept:
        cdef tp_autonat_msg m
        memset(&m, 0, sizeof(m))
        m.kind = TP_AUTONAT_RESPONSE
        m.status = status
        m.dial_status = dial_status
        m.index = self.index
        self.stage = ANSWERED
        self.finished(s)
        send(s, framed(&m))
        s.close_write()
        if not s.gone:
            # The client has this long to close its side.
            s.session.channel.reactor.arm(self, REQUEST_MS)

    cdef void finished(self, Stream s) noexcept:
        if self.admitted:
            self.admitted = False
            self.owner.done(s.session.channel.peer_id)

    cdef void on_fin(self, Stream s) noexcept:
        # A client may end its side behind the request.
        if self.stage == READING or self.stage == PAYING:
            s.reset()

    cdef void on_gone(self, Stream s) noexcept:
        self.stream = None
        self.owner.requests -= 1
        self.finished(s)
        self.cancel_timer()
        tp_bytequeue_free(&self.received)
        if self.dialing is not None:
            self.dialing.cancel()


@cython.no_gc
cdef class Returning(Handler):
    """The dial-back stream that a server opened, until the client has answered: then the nonce is there."""

    cdef Serving serving
    cdef Session session
    cdef Stream stream

    cdef void end(self, bint delivered) noexcept:
        cdef Serving serving = self.serving
        cdef Session session = self.session
        if serving is None:
            return
        self.serving = None
        self.session = None
        self.stream = None
        self.cancel_timer()
        serving.returned(session, delivered)

    cdef void on_selected(self, Stream s, bint selected) noexcept:
        if not selected:
            self.end(False)

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        self.end(True)

    cdef void on_fin(self, Stream s) noexcept:
        self.end(False)

    cdef void on_reset(self, Stream s) noexcept:
        self.end(False)

    cdef void on_timer(self) noexcept:
        self.end(False)
