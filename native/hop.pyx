# cython: language_level=3
"""The relay service: HOP from dialers and targets, STOP towards targets (libp2p specs, relay/circuit-v2.md).

Python is asked once for each reservation and circuit, with the numbers it needs to decide; everything else is here. A
peer is who its handshake proved, whatever a message says. A target's failure is never the dialer's: it gets
CONNECTION_FAILED.
"""
cimport cython
import time

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from towpath._native.circuit cimport Circuit, CircuitOwner, Side
from towpath._native.core cimport (
    TP_CONNECTION_FAILED, TP_HOP_ADDRS, TP_HOP_CONNECT, TP_HOP_MAX, TP_HOP_RESERVE, TP_HOP_STATUS, TP_MALFORMED_MESSAGE,
    TP_NO_RESERVATION, TP_OK, TP_PERMISSION_DENIED, TP_RESERVATION_REFUSED, TP_RESOURCE_LIMIT_EXCEEDED, TP_STOP_CONNECT,
    TP_STOP_STATUS, TP_UNEXPECTED_MESSAGE,
    tp_bytequeue_drop, tp_bytequeue_free, tp_bytequeue_head, tp_bytequeue_push, tp_bytequeue_size,
    tp_circuit_msg, tp_hop_get, tp_hop_put, tp_peer_id_valid, tp_slice, tp_stop_get, tp_stop_put,
    tp_varint_get, tp_varint_put, tp_voucher_put,
)
from towpath._native.negotiate cimport Protocol, propose
from towpath._native.peers cimport Peer
from towpath._native.purse cimport Purse
from towpath._native.reactor cimport Timed
from towpath._native.session cimport Handler, Session, Stream

cdef enum:
    READING                    # stages of a HOP stream
    CONNECTING
    ANSWERED

cdef enum:
    SILENCE_MS = 30000
    STOP_MS = 30000
    VOUCHER_MAX = 512
    ANSWER_MAX = 16384

cdef bytes STOP = b"/libp2p/circuit/relay/0.2.0/stop"


@cython.no_gc
cdef class Verdict:
    """What policy decided: a status of the specification; for reservations their time to live; limits told and enforced
    (0: none). Immutable, so that one object can serve many askers."""

    def __init__(self, int status, uint64_t ttl_s=0, uint64_t limit_s=0, uint64_t limit_data=0):
        self.status = status
        self.ttl_s = ttl_s
        self.limit_s = limit_s
        self.limit_data = limit_data


@cython.no_gc
cdef class Reservation(Timed):
    """A peer's right to be reached through this relay."""

    cdef void on_timer(self) noexcept:
        self.relay.drop_reservation(self)


cdef bytes prefix_of(Session session):
    # What counts as one household: an IPv4 address, an IPv6 /64. From the binary multiaddr of the socket.
    cdef bytes remote = session.channel.remote or b""
    if len(remote) > 9 and remote[0] == 0x29:
        return remote[1:9]
    return remote[1:5]


cdef bytes network_of(bytes prefix):
    # What many households share, or one has whole: the /24 or /56 around it.
    return prefix[:7] if len(prefix) == 8 else prefix[:3]


cdef void count(dict of, bytes what, int n):
    cdef object now = of.get(what, 0) + n
    if now:
        of[what] = now
    else:
        del of[what]


cdef class Relay(CircuitOwner):
    """The service of one endpoint.

    `policy` has two methods, called on the loop's thread, that return a Verdict at once:
    `reserve(peer_id, remote, renewing, reservations, of_prefix)` and
    `connect(dialer_id, target_id, remote, circuits, of_dialer, of_target)`; ids and multiaddr `remote` are bytes.
    `circuit_began(circuit)`, if set, is called with each Circuit that has begun, `circuit_ended(circuit)` and
    `circuit_billed(circuit)` with each that has ended.
    """

    def __init__(self, policy):
        self.policy = policy
        self.admitting = True
        self.addresses = []
        self.reservations = {}
        self.of_prefix = {}
        self.of_network = {}
        self.circuits = {}

    cdef Verdict _ask(self, object call, tuple numbers):
        try:
            return call(*numbers)
        except Exception:
            self.reactor.loop.call_exception_handler({"message": "relay policy failed", "exception": _current()})
            return None

    cdef void reserve(self, HopHandler h, Stream s) noexcept:
        cdef Session session = s.session
        cdef bytes peer_id = session.channel.peer_id
        cdef bytes prefix = prefix_of(session)
        cdef Reservation r = self.reservations.get(peer_id)
        cdef Peer peer = self.peers.get(peer_id)
        cdef Verdict v
        cdef double now
        if session.channel.via or peer is None or self.stopped:
            h.refuse(s, TP_PERMISSION_DENIED)
            return
        if not self.admitting:
            h.refuse(s, TP_RESERVATION_REFUSED)
            return
        v = self._ask(self.policy.reserve, (
            peer_id, session.channel.remote, r is not None, len(self.reservations), self.of_prefix.get(prefix, 0)))
        if v is None or v.status != TP_OK:
            h.refuse(s, TP_RESERVATION_REFUSED if v is None else v.status)
            return
        now = time.time()
        if r is None:
            r = Reservation.__new__(Reservation)
            r.relay = self
            r.peer_id = peer_id
            r.prefix = prefix
            r.since = now
            r.pinned = []
            self.reservations[peer_id] = r
            count(self.of_prefix, prefix, 1)
            count(self.of_network, network_of(prefix), 1)
            peer.reservation = r
        if session not in r.pinned:
            r.pinned.append(session)
            session.pin(1)
        r.expires_at = now + v.ttl_s
        r.limit_s = v.limit_s
        r.limit_data = v.limit_data
        self.reactor.arm(r, v.ttl_s * 1000)
        self.reservations_made += 1
        h.answer(s, TP_OK, v)

    cdef void drop_reservation(self, Reservation r) noexcept:
        cdef Session session
        cdef Peer peer
        if self.reservations.pop(r.peer_id, None) is None:
            return
        r.cancel_timer()
        count(self.of_prefix, r.prefix, -1)
        count(self.of_network, network_of(r.prefix), -1)
        peer = self.peers.get(r.peer_id)
        if peer is not None:
            peer.reservation = None
        for session in r.pinned:
            session.pin(-1)
        r.pinned = []

    cdef void session_gone(self, Session session) noexcept:
        """A peer's session has closed (it is no longer in Peer.sessions): with the last that does not come through a
        relay goes its reservation."""
        cdef bytes peer_id = session.channel.peer_id
        cdef Reservation r = self.reservations.get(peer_id)
        cdef Peer peer
        cdef Session other
        if r is None:
            return
        peer = self.peers.get(peer_id)
        if session in r.pinned:
            r.pinned.remove(session)
        if r.pinned:
            return
        other = None if peer is None else peer.direct()
        if other is None:
            self.drop_reservation(r)
        else:
            r.pinned.append(other)
            other.pin(1)

    cdef void connect(self, HopHandler h, Stream s, bytes target_id) noexcept:
        cdef Session session = s.session
        cdef bytes dialer_id = session.channel.peer_id
        cdef Peer dialer = self.peers.get(dialer_id)
        cdef Peer target
        cdef Session towards
        cdef Verdict v
        cdef StopHandler stopping
        if session.channel.via or dialer is None or self.stopped or target_id in (dialer_id, self.me.peer_id):
            h.refuse(s, TP_PERMISSION_DENIED)
            return
        if not self.admitting or (self.budget is not None and self.budget.exhausted):
            h.refuse(s, TP_RESOURCE_LIMIT_EXCEEDED)
            return
        target = self.peers.get(target_id)
        towards = None
        if target_id in self.reservations and target is not None:
            towards = target.direct()
        if towards is None:
            h.refuse(s, TP_NO_RESERVATION)
            return
        v = self._ask(self.policy.connect, (
            dialer_id, target_id, session.channel.remote, len(self.circuits) + self.connecting, dialer.circuits,
            target.circuits))
        if v is None or v.status != TP_OK:
            h.refuse(s, TP_RESOURCE_LIMIT_EXCEEDED if v is None else v.status)
            return
        stopping = StopHandler.__new__(StopHandler)
        stopping.relay = self
        stopping.hop = h
        stopping.dialing = s
        stopping.session = towards
        stopping.dialer = dialer
        stopping.target = target
        stopping.verdict = v
        dialer.circuits += 1
        target.circuits += 1
        self.connecting += 1
        h.stopping = stopping
        h.stage = CONNECTING
        stopping.stream = propose(towards, STOP, stopping, stop_connect(dialer_id, v))
        if stopping.stream is None:
            stopping.failed()

    cdef void on_circuit_end(self, Circuit c) noexcept:
        if self.circuits.pop(c.id, None) is None:
            return
        c.dialer.circuits -= 1
        c.target.circuits -= 1
        del c.dialer.open[c.id]
        del c.target.open[c.id]
        self.ended_in += c.first.bytes
        self.ended_out += c.second.bytes
        c.dialer.ended_in += c.first.bytes
        c.dialer.ended_out += c.second.bytes
        c.target.ended_in += c.second.bytes
        c.target.ended_out += c.first.bytes
        if self.circuit_billed is not None:
            self._tell_of(c, self.circuit_billed)
        if self.circuit_ended is not None:
            self._tell_of(c, self.circuit_ended)

    cdef void _tell_of(self, Circuit c, object told) noexcept:
        try:
            told(c)
        except Exception:
            self.reactor.loop.call_exception_handler({"message": "circuit accounting failed", "exception": _current()})

    def totals(self):
        """(bytes from dialers to targets, bytes from targets to dialers) since the start."""
        cdef Circuit c
        cdef uint64_t bytes_in = self.ended_in
        cdef uint64_t bytes_out = self.ended_out
        for c in self.circuits.values():
            bytes_in += c.first.bytes
            bytes_out += c.second.bytes
        return bytes_in, bytes_out

    def peer_totals(self):
        """{peer id: [bytes received from it, bytes sent to it]} of all connected peers, over their circuits."""
        cdef Circuit c
        cdef Peer peer
        cdef list pair
        cdef dict totals = {}
        for peer in self.peers.values():
            totals[peer.id] = [peer.ended_in, peer.ended_out]
        for c in self.circuits.values():
            pair = totals.get(c.dialer.id)
            if pair is not None:
                pair[0] += c.first.bytes
                pair[1] += c.second.bytes
            pair = totals.get(c.target.id)
            if pair is not None:
                pair[0] += c.second.bytes
                pair[1] += c.first.bytes
        return totals

    def bill(self, bytes peer_id not None, Purse purse):
        """What this peer sends through circuits is for this purse from now on, as long as it stays connected; None: for
        nobody's."""
        cdef Peer peer = self.peers.get(peer_id)
        cdef Circuit c
        if peer is None:
            return
        peer.purse = purse
        for c in self._open_of(peer):
            if c.dialer is peer:
                c.first.bill(purse)
            if c.target is peer:
                c.second.bill(purse)

    def circuits_of(self, bytes peer_id not None):
        """The open circuits of a peer that is connected, at either end."""
        cdef Peer peer = self.peers.get(peer_id)
        return [] if peer is None else self._open_of(peer)

    cdef list _open_of(self, Peer peer):
        return [] if peer.open is None else list(peer.open.values())

    cdef void _note_open(self, Peer peer, Circuit c) noexcept:
        if peer.open is None:
            peer.open = {}
        peer.open[c.id] = c

    def reserved_in(self, bytes network not None):
        """How many reservations are held from an IPv4 /24 or IPv6 /56 (its 3 or 7 bytes)."""
        return self.of_network.get(network, 0)

    def withdraw(self, bytes peer_id not None):
        """Ends a peer's reservation."""
        cdef Reservation r = self.reservations.get(peer_id)
        if r is not None:
            self.drop_reservation(r)


cdef object _current():
    import sys
    return sys.exc_info()[1]


cdef bytes stop_connect(bytes dialer_id, Verdict v):
    # STOP CONNECT with its length, telling the limits.
    cdef tp_circuit_msg m
    cdef uint8_t out[256]
    cdef int n
    begin_message(&m, TP_STOP_CONNECT)
    m.has_peer = 1
    m.peer_id.p, m.peer_id.n = <const uint8_t*>dialer_id, len(dialer_id)
    set_limit(&m, v)
    n = tp_stop_put(out, sizeof(out), &m)
    return bytes((n,)) + out[:n]


cdef void begin_message(tp_circuit_msg* m, int type) noexcept:
    memset(m, 0, sizeof(tp_circuit_msg))
    m.type = type
    m.status = -1


cdef void set_limit(tp_circuit_msg* m, Verdict v) noexcept:
    if v is not None and (v.limit_s or v.limit_data):
        m.has_limit = 1
        m.limit_duration = v.limit_s
        m.limit_data = v.limit_data


cdef class HopProtocol(Protocol):
    """`/libp2p/circuit/relay/0.2.0/hop` of an endpoint that relays."""

    def __init__(self, Relay relay not None):
        self.relay = relay

    cdef void accept(self, Session session, Stream s) noexcept:
        cdef HopHandler h = HopHandler.__new__(HopHandler)
        h.relay = self.relay
        h.stream = s
        h.stage = READING
        s.handler = h
        session.channel.reactor.arm(h, SILENCE_MS)


@cython.no_gc
cdef class HopHandler(Handler):
    """A HOP stream until it is answered, or has become a circuit."""

    def __dealloc__(self):
        tp_bytequeue_free(&self.received)

    cdef void on_timer(self) noexcept:
        # Silent for too long, or not closed by the peer after the answer. While STOP is under way, it has the deadline.
        if self.stage != CONNECTING and self.stream is not None:
            self.stream.reset()

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        cdef uint64_t length
        cdef int used
        if self.stage == ANSWERED:
            return
        if tp_bytequeue_push(&self.received, p, n) != 0:
            s.reset()
            return
        if self.stage != READING:
            self._park()
            return
        used = tp_varint_get(tp_bytequeue_head(&self.received), tp_bytequeue_size(&self.received), &length)
        if used < 0 or (used > 0 and length > TP_HOP_MAX):
            s.reset()
            return
        if used == 0 or tp_bytequeue_size(&self.received) < used + length:
            return
        self.cancel_timer()
        self._message(s, tp_bytequeue_head(&self.received) + used, length)
        # What came with the message belongs to the circuit to come.
        if self.stage == CONNECTING:
            tp_bytequeue_drop(&self.received, used + length)
            self._park()

    cdef void _park(self) noexcept:
        # What waits for the circuit is counted, and the connect is among those that go when memory is short.
        cdef size_t more = self.received.capacity - self.counted
        if more:
            self.counted += more
            self.relay.reactor.set_stalled(self.stopping, True)
            self.relay.reactor.hold(more)

    cdef void drop_received(self) noexcept:
        self.relay.reactor.unhold(self.counted)
        self.counted = 0
        tp_bytequeue_free(&self.received)

    cdef void _message(self, Stream s, const uint8_t* p, size_t n) noexcept:
        cdef tp_circuit_msg m
        if tp_hop_get(p, n, &m) != 0:
            self.refuse(s, TP_MALFORMED_MESSAGE)
        elif m.type == TP_HOP_RESERVE:
            self.relay.reserve(self, s)
        elif m.type == TP_HOP_CONNECT:
            if not m.has_peer or not tp_peer_id_valid(m.peer_id.p, m.peer_id.n):
                self.refuse(s, TP_MALFORMED_MESSAGE)
            else:
                self.relay.connect(self, s, m.peer_id.p[:m.peer_id.n])
        elif m.type == TP_HOP_STATUS:
            self.refuse(s, TP_UNEXPECTED_MESSAGE)
        else:
            self.refuse(s, TP_MALFORMED_MESSAGE)

    cdef void refuse(self, Stream s, int status) noexcept:
        if status != TP_OK:
            self.relay.circuits_refused += 1
        self.answer(s, status, None)

    cdef void answer(self, Stream s, int status, Verdict v) noexcept:
        """Sends a STATUS other than a circuit's (see StopHandler._splice) and ends our side of the stream. v: of a
        reservation."""
        cdef tp_circuit_msg m
        cdef uint8_t voucher[VOUCHER_MAX]
        cdef uint8_t out[ANSWER_MAX]
        cdef uint8_t prefix[10]
        cdef tp_slice relay
        cdef tp_slice peer
        cdef bytes peer_id, address
        cdef int n
        begin_message(&m, TP_HOP_STATUS)
        m.status = status
        if v is not None:
            peer_id = s.session.channel.peer_id
            relay.p, relay.n = <const uint8_t*>self.relay.me.peer_id, len(self.relay.me.peer_id)
            peer.p, peer.n = <const uint8_t*>peer_id, len(peer_id)
            m.has_reservation = 1
            m.expire = <uint64_t>(time.time() + v.ttl_s)
            n = tp_voucher_put(
                voucher, VOUCHER_MAX, <const uint8_t*>self.relay.me.public_key, self.relay.me.secret, relay, peer,
                m.expire)
            if n > 0:
                m.voucher.p, m.voucher.n = voucher, n
            for address in self.relay.addresses[:TP_HOP_ADDRS]:
                m.addrs[m.addrs_n].p, m.addrs[m.addrs_n].n = <const uint8_t*>address, len(address)
                m.addrs_n += 1
            set_limit(&m, v)
        n = tp_hop_put(out, ANSWER_MAX, &m)
        if n < 0:
            s.reset()
            return
        self.stage = ANSWERED
        self.drop_received()
        s.send(prefix, tp_varint_put(prefix, n), False)
        s.send(out, n, False)
        s.close_write()
        if not s.gone:
            s.session.channel.reactor.arm(self, SILENCE_MS)

    cdef void on_fin(self, Stream s) noexcept:
        if self.stage == READING:
            s.reset()

    cdef void on_gone(self, Stream s) noexcept:
        cdef StopHandler stopping = self.stopping
        self.stream = None
        self.stopping = None
        self.drop_received()
        if stopping is not None and self.stage == CONNECTING:
            stopping.release()
            if stopping.stream is not None and not stopping.stream.gone:
                stopping.stream.reset()


@cython.no_gc
cdef class StopHandler(Handler):
    """A STOP stream until the target answered."""

    def __dealloc__(self):
        tp_bytequeue_free(&self.received)

    cdef void on_selected(self, Stream s, bint selected) noexcept:
        if selected:
            self.relay.reactor.arm(self, STOP_MS)
        else:
            self.failed()

    cdef void on_timer(self) noexcept:
        cdef Stream s = self.stream
        self.failed()
        if s is not None:
            s.reset()

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        cdef uint64_t length
        cdef int used
        if self.hop is None:
            return
        if tp_bytequeue_push(&self.received, p, n) != 0:
            s.reset()
            return
        used = tp_varint_get(tp_bytequeue_head(&self.received), tp_bytequeue_size(&self.received), &length)
        if used < 0 or (used > 0 and length > TP_HOP_MAX):
            self.failed()
            s.reset()
            return
        if used == 0 or tp_bytequeue_size(&self.received) < used + length:
            return
        self._message(s, tp_bytequeue_head(&self.received) + used, length)
        if self.hop is not None:
            self._splice(s, used + length)

    cdef void _message(self, Stream s, const uint8_t* p, size_t n) noexcept:
        cdef tp_circuit_msg m
        if tp_stop_get(p, n, &m) != 0 or m.type != TP_STOP_STATUS or m.status != TP_OK or self.relay.stopped:
            self.failed()
            s.reset()

    cdef void _splice(self, Stream s, size_t used) noexcept:
        cdef HopHandler hop = self.hop
        cdef Stream dialing = self.dialing
        cdef Relay relay = self.relay
        cdef Circuit c = Circuit.__new__(Circuit)
        cdef tp_circuit_msg m
        cdef uint8_t out[64]
        cdef int n
        cdef Side side
        self.release()
        begin_message(&m, TP_HOP_STATUS)
        m.status = TP_OK
        set_limit(&m, self.verdict)
        n = tp_hop_put(out + 1, 63, &m)
        out[0] = <uint8_t>n
        hop.stage = ANSWERED
        hop.stopping = None
        hop.stream = None
        dialing.send(out, n + 1, False)
        if dialing.gone or s.gone:
            # Its connection was found dead when the answer was to be sent.
            dialing.reset()
            s.reset()
            return
        c.owner = relay
        c.reactor = relay.reactor
        c.dialer = self.dialer
        c.target = self.target
        c.limit_s = self.verdict.limit_s
        c.limit_data = self.verdict.limit_data
        relay.next_circuit += 1
        c.id = relay.next_circuit
        relay.circuits[c.id] = c
        relay._note_open(c.dialer, c)
        relay._note_open(c.target, c)
        relay.circuits_opened += 1
        c.dialer.circuits += 1
        c.target.circuits += 1
        c.splice(dialing, s, relay.budget)
        if relay.circuit_began is not None:
            relay._tell_of(c, relay.circuit_began)
            if c.ending or dialing.gone or s.gone:
                # Who was told ended it.
                hop.drop_received()
                return
        if tp_bytequeue_size(&hop.received):
            side = c.first
            side.on_data(dialing, tp_bytequeue_head(&hop.received), tp_bytequeue_size(&hop.received))
            hop.drop_received()
        if dialing.fin_received and not dialing.gone:
            c.first.on_fin(dialing)
        if tp_bytequeue_size(&self.received) > used and not s.gone:
            side = c.second
            side.on_data(s, tp_bytequeue_head(&self.received) + used, tp_bytequeue_size(&self.received) - used)

    cdef void on_fin(self, Stream s) noexcept:
        self.failed()
        s.reset()

    cdef void on_gone(self, Stream s) noexcept:
        self.failed()
        self.stream = None

    cdef void release(self) noexcept:
        # No longer under way: its place is free.
        if self.session is not None:
            self.session = None
            self.relay.connecting -= 1
            self.dialer.circuits -= 1
            self.target.circuits -= 1
        self.cancel_timer()
        self.relay.reactor.set_stalled(self, False)
        self.hop = None
        self.dialing = None

    cdef void failed(self) noexcept:
        """Tells the dialer, if it still waits."""
        cdef HopHandler hop = self.hop
        cdef Stream dialing = self.dialing
        cdef bint vanished = self.session is not None and self.session.closed
        self.release()
        if hop is not None and hop.stage == CONNECTING:
            hop.stopping = None
            hop.refuse(dialing, TP_NO_RESERVATION if vanished else TP_CONNECTION_FAILED)
