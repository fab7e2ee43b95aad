# cython: language_level=3
"""AutoNAT v2 (libp2p specs, autonat/autonat-v2.md): can others connect to this address?

The client asks over a connection that exists, and believes a server only when the nonce of its question came back over
a connection that came in after it had asked. The server's side is in dialback.pyx.
"""
cimport cython
from functools import partial
import os
import time

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from towpath._native.core cimport (
    TP_AUTONAT_DATA, TP_AUTONAT_DATA_MAX, TP_AUTONAT_DATA_REQUEST, TP_AUTONAT_DIAL_ERROR, TP_AUTONAT_MAX,
    TP_AUTONAT_OK, TP_AUTONAT_REQUEST, TP_AUTONAT_RESPONSE, TP_DIAL_BACK_MAX,
    tp_autonat_get, tp_autonat_msg, tp_bytequeue, tp_bytequeue_drop, tp_bytequeue_free, tp_bytequeue_head,
    tp_bytequeue_push, tp_dial_back_get,
)
from towpath._native.dialback cimport DialService, frame, framed, send
from towpath._native.dialback import DIAL_BACK, DIAL_REQUEST
from towpath._native.endpoint cimport Endpoint
from towpath._native.negotiate cimport Protocol, propose
from towpath._native.session cimport Handler, Session, Stream

cdef enum:
    ASK_MS = 20000             # what a client gives a server
    NONCE_MS = 3000            # for a nonce that its server says it has delivered
    BACK_MS = 4000             # for the nonce on a stream that is there for it
    PAY_MAX = 100000           # bytes a client pays for a dial

cdef bytes DIAL_BACK_ID = DIAL_BACK.encode()
cdef bytes DIAL_REQUEST_ID = DIAL_REQUEST.encode()


class AskFailed(Exception):
    """A server gave no answer; the text says why."""


cdef class Autonat:
    """Both sides of AutoNAT v2 on one endpoint.

    `policy(peer_id, remote, addresses)` is called on the loop's thread with each request that is served (bytes, bytes,
    list of bytes: unchecked) and returns at once: a status of the specification other than OK, or
    (index, host, port, bytes to pay, milliseconds to wait before dialing). `done(peer_id)` is called when that request
    has ended.
    """

    cdef Endpoint endpoint
    cdef DialService service
    cdef dict asked                    # nonce → Asking

    def __init__(self, Endpoint endpoint not None, policy, done):
        self.endpoint = endpoint
        self.service = DialService(endpoint, policy, done)
        self.asked = {}
        endpoint.protocols[DIAL_BACK_ID] = DialBackProtocol(self)
        endpoint._publish()

    def serve(self, bint on):
        """Begins, or ends, to serve others; what has begun goes on."""
        self.service.serve(on)

    @property
    def serving(self):
        return DIAL_REQUEST_ID in self.endpoint.protocols

    def close(self):
        """Speaks AutoNAT no more; dials that are under way end."""
        self.endpoint.protocols.pop(DIAL_BACK_ID, None)
        self.service.close()

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
