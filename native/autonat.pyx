# cython: language_level=3
"""AutoNAT v2 (libp2p specs, autonat/autonat-v2.md): can others connect to this address?

The client asks over a connection that exists, and believes a server only when the nonce of its question came back over
a connection that came in after it had asked. The server dials at most one address of a request, the one that policy
named, with an identity made for that, and makes the client pay in bytes for an address that is not its own.
"""
cimport cython
from functools import partial
import os
import time

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from towpath._native.core cimport (
    TP_AUTONAT_DATA, TP_AUTONAT_DATA_MAX, TP_AUTONAT_DATA_REQUEST, TP_AUTONAT_DIAL_BACK_ERROR, TP_AUTONAT_DIAL_ERROR,
    TP_AUTONAT_DIAL_OK, TP_AUTONAT_INTERNAL_ERROR, TP_AUTONAT_MAX, TP_AUTONAT_OK, TP_AUTONAT_REJECTED,
    TP_AUTONAT_REQUEST, TP_AUTONAT_RESPONSE, TP_DIAL_BACK_MAX,
    tp_autonat_get, tp_autonat_msg, tp_autonat_put, tp_bytequeue, tp_bytequeue_drop, tp_bytequeue_free,
    tp_bytequeue_head, tp_bytequeue_push, tp_bytequeue_size, tp_dial_back_get, tp_dial_back_put, tp_varint_get,
    tp_varint_put,
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
    ASK_MS = 20000             # what a client gives a server
    NONCE_MS = 3000            # for a nonce that its server says it has delivered
    PAY_MAX = 100000           # bytes a client pays for a dial
    PIECE_MIN = 100            # bytes of payment in a message, so that it costs the payer more than the reader

cdef bytes DIAL_BACK_ID = DIAL_BACK.encode()
cdef bytes DIAL_REQUEST_ID = DIAL_REQUEST.encode()


class AskFailed(Exception):
    """A server gave no answer; the text says why."""


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


cdef class Autonat:
    """Both sides of AutoNAT v2 on one endpoint.

    `policy(peer_id, remote, addresses)` is called on the loop's thread with each request that is served (bytes, bytes,
    list of bytes: unchecked) and returns at once: a status of the specification other than OK, or
    (index, host, port, bytes to pay, milliseconds to wait before dialing). `done(peer_id)` is called when that request
    has ended.
    """

    cdef Endpoint endpoint
    cdef Endpoint dialer               # of the dial-backs, made for the first one
    cdef object policy
    cdef object done
    cdef dict asked                    # nonce → Asking
    cdef bint closed

    def __init__(self, Endpoint endpoint not None, policy, done):
        self.endpoint = endpoint
        self.policy = policy
        self.done = done
        self.asked = {}
        endpoint.protocols[DIAL_BACK_ID] = DialBackProtocol(self)
        endpoint._publish()

    def serve(self, bint on):
        """Begins, or ends, to serve others; what has begun goes on."""
        if on:
            self.endpoint.protocols[DIAL_REQUEST_ID] = DialRequestProtocol(self)
        else:
            self.endpoint.protocols.pop(DIAL_REQUEST_ID, None)
        self.endpoint._publish()

    @property
    def serving(self):
        return DIAL_REQUEST_ID in self.endpoint.protocols

    def close(self):
        """Speaks AutoNAT no more; dials that are under way end."""
        self.closed = True
        self.endpoint.protocols.pop(DIAL_BACK_ID, None)
        self.serve(False)
        if self.dialer is not None:
            self.dialer.close()
            self.dialer.abort()

    def ask(self, Session session not None, bytes address not None):
        """Asks the other end of a session to connect to `address` (a multiaddr without peer id).

        Returns a future of (status, dial status, whether the nonce came back as it must) as the specification numbers
        them; AskFailed when there is no answer. Cancelling it ends the stream. Costs at most 100,000 bytes.
        """
        cdef Asking h = Asking.__new__(Asking)
        cdef tp_autonat_msg m
        memset(&m, 0, sizeof(m))
        m.kind = TP_AUTONAT_REQUEST
        m.nonce = h.nonce = int.from_bytes(os.urandom(8), "little")
        m.addrs[0].p, m.addrs[0].n = <const uint8_t*>address, len(address)
        m.addrs_n = 1
        h.owner = self
        h.session = session
        h.family = address[:1]
        h.since = time.time()
        h.future = future = session.channel.reactor.loop.create_future()
        future.add_done_callback(partial(_given_up, h))
        self.asked[h.nonce] = h
        h.stream = propose(session, DIAL_REQUEST_ID, h, framed(&m))
        if h.stream is None:
            h.fail("the connection is closed")
        elif not future.done():
            session.channel.reactor.arm(h, ASK_MS)
        return future

    cdef Endpoint dialing_endpoint(self):
        # Its identity tells nobody who dials; a session of the client with us stays the only one it has with us.
        if self.dialer is None:
            self.dialer = Endpoint(self.endpoint.reactor, os.urandom(32), self.endpoint.agent)
        self.dialer.budget = self.endpoint.budget
        return self.dialer


# --- the server's side -------------------------------------------------------------------------------


cdef class DialRequestProtocol(Protocol):
    """`/libp2p/autonat/2/dial-request` of an endpoint that serves."""

    cdef Autonat owner

    def __init__(self, Autonat owner not None):
        self.owner = owner

    cdef void accept(self, Session session, Stream s) noexcept:
        cdef Serving h = Serving.__new__(Serving)
        h.owner = self.owner
        h.stream = s
        h.stage = READING
        s.handler = h
        session.channel.reactor.arm(h, REQUEST_MS)


@cython.no_gc
cdef class Serving(Handler):
    """A request until it is answered."""

    cdef Autonat owner
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


# --- the client's side -------------------------------------------------------------------------------


cdef class DialBackProtocol(Protocol):
    """`/libp2p/autonat/2/dial-back` of an endpoint that asks."""

    cdef Autonat owner

    def __init__(self, Autonat owner not None):
        self.owner = owner

    cdef void accept(self, Session session, Stream s) noexcept:
        cdef DialedBack h = DialedBack.__new__(DialedBack)
        h.owner = self.owner
        h.stream = s
        s.handler = h
        session.channel.reactor.arm(h, BACK_MS)


@cython.no_gc
cdef class DialedBack(Handler):
    """A dial-back stream that a server opened to us."""

    cdef Autonat owner
    cdef Stream stream
    cdef tp_bytequeue received
    cdef bint taken

    def __dealloc__(self):
        tp_bytequeue_free(&self.received)

    cdef void on_timer(self) noexcept:
        if self.stream is not None:
            self.stream.reset()

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        cdef uint64_t length
        cdef uint64_t nonce
        cdef Asking asking
        cdef int used
        if self.taken:
            return
        if tp_bytequeue_push(&self.received, p, n) != 0:
            s.reset()
            return
        used = frame(&self.received, TP_DIAL_BACK_MAX, &length)
        if used < 0:
            s.reset()
        if used <= 0:
            return
        self.taken = True
        if tp_dial_back_get(tp_bytequeue_head(&self.received) + used, length, &nonce) != 0:
            s.reset()
            return
        asking = self.owner.asked.get(nonce)
        if asking is None or not asking.takes(s.session):
            s.reset()
            return
        # An empty DialBackResponse: OK.
        send(s, b"\0")
        s.close_write()
        asking.seen()

    cdef void on_fin(self, Stream s) noexcept:
        if not self.taken:
            s.reset()

    cdef void on_gone(self, Stream s) noexcept:
        self.stream = None
        self.cancel_timer()


@cython.no_gc
cdef class Asking(Handler):
    """A question, until it is answered."""

    cdef Autonat owner
    cdef Session session
    cdef Stream stream
    cdef tp_bytequeue received
    cdef uint64_t nonce
    cdef bytes family                  # the first byte of the address: its protocol
    cdef double since
    cdef object future
    cdef bint dialed_back
    cdef bint paid
    cdef bint answered                 # but the nonce is still awaited
    cdef int dial_status

    def __dealloc__(self):
        tp_bytequeue_free(&self.received)

    cdef bint takes(self, Session back) noexcept:
        """Does this session prove that the address works? One that was there before, that we opened ourselves, that a
        relay carries or that has another kind of address does not."""
        cdef bytes remote = back.channel.remote or b""
        return (back is not self.session and not back.channel.initiator and not back.channel.via
                and back.opened_at >= self.since and not self.dialed_back
                and (remote[:1] == self.family or self.family not in (b"\x04", b"\x29")))

    cdef void seen(self) noexcept:
        self.dialed_back = True
        if self.answered:
            self.settle(TP_AUTONAT_OK)

    cdef void settle(self, int status) noexcept:
        self.end()
        if not self.future.done():
            self.future.set_result((status, self.dial_status, self.dialed_back))

    cdef void fail(self, str why) noexcept:
        self.end()
        if not self.future.done():
            self.future.set_exception(AskFailed(why))

    cdef void end(self) noexcept:
        cdef Stream s = self.stream
        self.stream = None
        self.owner.asked.pop(self.nonce, None)
        self.cancel_timer()
        tp_bytequeue_free(&self.received)
        if s is not None and not s.gone:
            s.reset()

    cdef void on_timer(self) noexcept:
        if self.answered:
            self.settle(TP_AUTONAT_OK)
        else:
            self.fail("it did not answer in 20 s")

    cdef void on_selected(self, Stream s, bint selected) noexcept:
        if not selected:
            self.fail("it does not speak AutoNAT v2")

    cdef void on_unanswered(self, Stream s) noexcept:
        self.fail("the connection ended")

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        cdef uint64_t length
        cdef int used
        if self.answered:
            return
        if tp_bytequeue_push(&self.received, p, n) != 0:
            self.fail("no memory")
            return
        while not self.answered and self.stream is not None:
            used = frame(&self.received, TP_AUTONAT_MAX, &length)
            if used < 0:
                self.fail("its message is too long")
            if used <= 0:
                return
            self.message(s, tp_bytequeue_head(&self.received) + used, length)
            if self.stream is not None:
                tp_bytequeue_drop(&self.received, used + length)

    cdef void message(self, Stream s, const uint8_t* p, size_t n) noexcept:
        cdef tp_autonat_msg m
        if tp_autonat_get(p, n, &m) != 0:
            self.fail("its message is malformed")
        elif m.kind == TP_AUTONAT_RESPONSE:
            self.response(s, &m)
        elif m.kind == TP_AUTONAT_DATA_REQUEST and not self.paid and m.index == 0 and m.bytes <= PAY_MAX:
            self.paid = True
            self.pay(s, m.bytes)
        else:
            self.fail("its message is not one that is expected")

    cdef void response(self, Stream s, tp_autonat_msg* m) noexcept:
        self.dial_status = m.dial_status
        if m.status == TP_AUTONAT_OK and m.index != 0:
            self.fail("it tells of an address that it was not asked about")
        elif m.status != TP_AUTONAT_OK or m.dial_status == TP_AUTONAT_DIAL_ERROR or self.dialed_back:
            self.settle(m.status)
        else:
            # The nonce travels on another connection and may come later.
            self.answered = True
            s.close_write()
            s.session.channel.reactor.arm(self, NONCE_MS)

    cdef void pay(self, Stream s, uint64_t owed) noexcept:
        cdef tp_autonat_msg m
        cdef bytes zeros = bytes(TP_AUTONAT_DATA_MAX)
        cdef bytes piece
        memset(&m, 0, sizeof(m))
        m.kind = TP_AUTONAT_DATA
        m.data.p, m.data.n = <const uint8_t*>zeros, len(zeros)
        piece = framed(&m)
        while owed and not s.gone:
            send(s, piece)
            owed -= min(owed, <uint64_t>TP_AUTONAT_DATA_MAX)

    cdef void on_fin(self, Stream s) noexcept:
        if not self.answered and self.stream is not None:
            self.fail("it ended without an answer")

    cdef void on_reset(self, Stream s) noexcept:
        if self.answered:
            self.stream = None
        elif self.stream is not None:
            self.fail("it broke off")


def _given_up(Asking h not None, future):
    if future.cancelled():
        h.end()
