# cython: language_level=3
"""`/ipfs/id/1.0.0` and `/ipfs/id/push/1.0.0` (libp2p specs, identify): who speaks, which protocols, seen from where.

Our answer is a cached message; only the observed address is added for each asker. What a peer says of itself
is kept as an interned agent name and an interned set of protocols: thousands of peers share a few of each.
"""
cimport cython
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport malloc, free
from libc.string cimport memset

from towpath._native.core cimport (
    TP_IDENTIFY_LISTS, TP_IDENTIFY_MAX, tp_bytequeue, tp_bytequeue_free, tp_bytequeue_head, tp_bytequeue_push,
    tp_bytequeue_size, tp_identify, tp_identify_get, tp_identify_put, tp_multiaddr_valid, tp_varint_get, tp_varint_put,
)
from towpath._native.negotiate cimport Protocol, propose
from towpath._native.session cimport Handler, Session, Stream

cdef bytes IDENTIFY = b"/ipfs/id/1.0.0"
cdef bytes PUSH = b"/ipfs/id/push/1.0.0"
cdef enum:
    IDENTIFY_MS = 30000
    INTERNED_MAX = 1024
    AGENT_MAX = 128            # characters of a peer's agent name that are kept
    OBSERVED_TAG = 0x22        # field 4, length-delimited
    LISTENS_MAX = 8            # addresses of a peer that are kept

# Whoever speaks one of these serves the DHT; where it says it listens is kept, for the routing table.
cdef frozenset DHT_SERVERS = frozenset(("/towpath/kad/1.0.0", "/ipfs/kad/1.0.0"))

cdef dict interned = {}


cdef class IdentifyProtocol(Protocol):
    """Answers who we are."""

    cdef void publish(self, bytes key_pb, str agent, list listen, list protocols):
        """Sets the answer: encoded public key, agent, listen multiaddrs (bytes) and protocol ids (bytes)."""
        cdef tp_identify m
        cdef uint8_t* out
        cdef int n, i
        cdef bytes version = b"ipfs/0.1.0"
        cdef bytes name = agent.encode()
        memset(&m, 0, sizeof(m))
        m.key_pb.p, m.key_pb.n = <const uint8_t*>key_pb, len(key_pb)
        m.agent.p, m.agent.n = <const uint8_t*>name, len(name)
        m.protocol_version.p, m.protocol_version.n = <const uint8_t*>version, len(version)
        for i, item in enumerate(listen[:TP_IDENTIFY_LISTS]):
            m.listen[i].p, m.listen[i].n = <const uint8_t*>(<bytes>item), len(item)
            m.listen_n = i + 1
        for i, item in enumerate(protocols[:TP_IDENTIFY_LISTS]):
            m.protocols[i].p, m.protocols[i].n = <const uint8_t*>(<bytes>item), len(item)
            m.protocols_n = i + 1
        out = <uint8_t*>malloc(TP_IDENTIFY_MAX)
        if out == NULL:
            raise MemoryError()
        n = tp_identify_put(out, TP_IDENTIFY_MAX, &m)
        if n >= 0:
            self.message = out[:n]
        free(out)
        if n < 0:
            raise ValueError("too many addresses or protocols for one identify message")

    cdef bytes answer(self, Session session):
        cdef bytes remote = session.channel.remote or b""
        cdef bytes whole = self.message
        cdef uint8_t prefix[10]
        cdef size_t n
        if remote:
            whole = whole + bytes((OBSERVED_TAG, len(remote))) + remote
        n = tp_varint_put(prefix, len(whole))
        return prefix[:n] + whole

    cdef void accept(self, Session session, Stream s) noexcept:
        cdef bytes whole = self.answer(session)
        s.handler = Sender.__new__(Sender)
        s.send(<uint8_t*><const uint8_t*>whole, len(whole), False)
        s.close_write()


cdef class IdentifyPushProtocol(Protocol):
    """Takes what a peer tells anew of itself."""

    cdef void accept(self, Session session, Stream s) noexcept:
        s.handler = Reader.__new__(Reader)
        (<Reader>s.handler).done = self.on_identified
        (<Reader>s.handler).stream = s
        session.channel.reactor.arm(s.handler, IDENTIFY_MS)


@cython.no_gc
cdef class Sender(Handler):
    """Of a stream on which we only send: what comes back is ignored, beyond its first window nothing can come."""

    cdef bytes whole           # said once the protocol is agreed on

    cdef void on_selected(self, Stream s, bint selected) noexcept:
        if selected:
            s.send(<uint8_t*><const uint8_t*>self.whole, len(self.whole), False)
            s.close_write()


@cython.no_gc
cdef class Reader(Handler):
    """Collects one identify message, at most TP_IDENTIFY_MAX bytes, and enters it in the session."""

    cdef tp_bytequeue received
    cdef object done           # called with the session once known, or never
    cdef Stream stream

    def __dealloc__(self):
        tp_bytequeue_free(&self.received)

    cdef void on_timer(self) noexcept:
        cdef Stream s = self.stream
        self.stream = None
        if s is not None and not s.gone:
            s.reset()

    cdef void on_selected(self, Stream s, bint selected) noexcept:
        if selected:
            self.stream = s
            s.session.channel.reactor.arm(self, IDENTIFY_MS)

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        if tp_bytequeue_size(&self.received) + n > TP_IDENTIFY_MAX + 10 or tp_bytequeue_push(&self.received, p, n) != 0:
            s.reset()

    cdef void on_fin(self, Stream s) noexcept:
        cdef uint64_t length = 0
        cdef uint8_t* head = tp_bytequeue_head(&self.received)
        cdef size_t have = tp_bytequeue_size(&self.received)
        cdef Session session = s.session
        cdef int used = tp_varint_get(head, have, &length) if have else 0
        self.stream = None
        s.close_write()
        if used > 0 and length <= have - used:
            enter(session, head + used, length)
            if self.done is not None:
                self.done(session)


cdef void enter(Session session, const uint8_t* p, size_t n) noexcept:
    # Writes what a peer says of itself into its session.
    cdef tp_identify m
    if tp_identify_get(p, n, &m) != 0:
        return
    session.agent = intern_value((<bytes>m.agent.p[:m.agent.n]).decode("utf-8", "replace")[:AGENT_MAX])
    session.protocols = intern_value(frozenset([
        (<bytes>m.protocols[i].p[:m.protocols[i].n]).decode("utf-8", "replace") for i in range(m.protocols_n)]))
    if DHT_SERVERS.isdisjoint(session.protocols):
        session.listens = ()
    else:
        session.listens = tuple([
            <bytes>m.listen[i].p[:m.listen[i].n] for i in range(min(m.listen_n, LISTENS_MAX))
            if 0 < m.listen[i].n <= 128 and tp_multiaddr_valid(m.listen[i].p, m.listen[i].n)])
    if 0 < m.observed.n <= 128 and tp_multiaddr_valid(m.observed.p, m.observed.n):
        session.observed = m.observed.p[:m.observed.n]


cdef object intern_value(object value):
    found = interned.get(value)
    if found is None:
        if len(interned) >= INTERNED_MAX:
            interned.clear()
        interned[value] = found = value
    return found


cdef void ask(Session session, object on_identified) noexcept:
    """Asks the other side who it is; on_identified(session) is called when it answered."""
    cdef Reader r = Reader.__new__(Reader)
    r.done = on_identified
    propose(session, IDENTIFY, r, b"")


cdef void push(Session session, IdentifyProtocol ours) noexcept:
    """Tells the other side who we are now."""
    cdef Sender w = Sender.__new__(Sender)
    w.whole = ours.answer(session)
    propose(session, PUSH, w, b"")
