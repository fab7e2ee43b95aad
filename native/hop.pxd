from libc.stdint cimport uint8_t, uint32_t, uint64_t

from towpath._native.budget cimport Budget
from towpath._native.circuit cimport Circuit, CircuitOwner
from towpath._native.core cimport tp_bytequeue
from towpath._native.handshake cimport Identity
from towpath._native.negotiate cimport Protocol
from towpath._native.peers cimport Peer
from towpath._native.purse cimport Purse
from towpath._native.reactor cimport Reactor, Timed
from towpath._native.session cimport Handler, Session, Stream


cdef class Verdict:
    cdef readonly int status
    cdef readonly uint64_t ttl_s
    cdef readonly uint64_t limit_s
    cdef readonly uint64_t limit_data


cdef class Reservation(Timed):
    cdef Relay relay
    cdef readonly bytes peer_id
    cdef readonly bytes prefix
    cdef readonly double expires_at    # Unix time
    cdef readonly double since
    cdef readonly uint64_t limit_s
    cdef readonly uint64_t limit_data
    cdef list pinned                   # its peer's sessions, kept while it lasts


cdef class Relay(CircuitOwner):
    cdef Reactor reactor
    cdef Identity me
    cdef dict peers                    # peer id → Peer, the endpoint's
    cdef public object policy
    cdef public object circuit_began   # called with each Circuit that has just begun
    cdef public object circuit_ended   # called with each Circuit that has ended
    cdef public object circuit_billed  # likewise, of who counts by sender
    cdef public list addresses         # multiaddrs (bytes) with /p2p/RELAY_ID, told in every reservation
    cdef bint stopped                  # takes nothing on any more
    cdef public bint admitting         # False: every RESERVE and CONNECT is refused; what runs goes on
    cdef Budget budget                 # of the endpoint's sockets, or None
    cdef readonly dict reservations    # peer id → Reservation
    cdef dict of_prefix                # prefix → how many reservations
    cdef dict of_network               # likewise of the networks around them
    cdef readonly dict circuits        # id → Circuit
    cdef uint64_t next_circuit
    cdef readonly int connecting
    cdef readonly uint64_t circuits_opened
    cdef readonly uint64_t circuits_refused
    cdef readonly uint64_t reservations_made
    cdef uint64_t ended_in
    cdef uint64_t ended_out
    cdef Verdict _ask(self, object call, tuple numbers)
    cdef void _tell_of(self, Circuit c, object told) noexcept
    cdef list _open_of(self, Peer peer)
    cdef void _note_open(self, Peer peer, Circuit c) noexcept
    cdef void reserve(self, HopHandler h, Stream s) noexcept
    cdef void connect(self, HopHandler h, Stream s, bytes target) noexcept
    cdef void drop_reservation(self, Reservation r) noexcept
    cdef void session_gone(self, Session session) noexcept


cdef class HopProtocol(Protocol):
    cdef Relay relay


cdef class HopHandler(Handler):
    cdef Relay relay
    cdef Stream stream
    cdef tp_bytequeue received
    cdef size_t counted                # of received, as held by the reactor
    cdef int stage
    cdef StopHandler stopping
    cdef void _park(self) noexcept
    cdef void drop_received(self) noexcept
    cdef void _message(self, Stream s, const uint8_t* p, size_t n) noexcept
    cdef void answer(self, Stream s, int status, Verdict verdict) noexcept
    cdef void refuse(self, Stream s, int status) noexcept


cdef class StopHandler(Handler):
    cdef Relay relay
    cdef HopHandler hop
    cdef Stream dialing
    cdef Stream stream
    cdef Session session
    cdef Peer dialer
    cdef Peer target
    cdef Verdict verdict
    cdef tp_bytequeue received
    cdef void failed(self) noexcept
    cdef void _message(self, Stream s, const uint8_t* p, size_t n) noexcept
    cdef void _splice(self, Stream s, size_t used) noexcept
    cdef void release(self) noexcept
