from libc.stdint cimport uint8_t, uint32_t, uint64_t

from towpath._native.budget cimport Budget, Claimant
from towpath._native.peers cimport Peer
from towpath._native.purse cimport Purse
from towpath._native.reactor cimport Reactor, Timed
from towpath._native.session cimport Stream


cdef class CircuitOwner:
    cdef void on_circuit_end(self, Circuit c) noexcept


cdef class Side(Claimant):
    cdef Circuit circuit
    cdef uint64_t left
    cdef uint32_t cap                  # most credit the sender gets ahead
    cdef bint parked                   # the receiver was slower than what it had granted
    cdef uint64_t granted_ms
    cdef uint64_t granted_bytes
    cdef bint _held_back(self) noexcept
    cdef size_t _borne(self, uint8_t* p, size_t n) noexcept
    cdef void _carry_unpaid(self) noexcept
    cdef void drop_unpaid(self) noexcept
    cdef void credit(self) noexcept
    cdef void _grow(self, uint64_t now_ms) noexcept
    cdef void bill(self, Purse purse) noexcept


cdef class Circuit(Timed):
    cdef CircuitOwner owner
    cdef Reactor reactor
    cdef Peer dialer
    cdef Peer target
    cdef readonly uint64_t id
    cdef readonly double opened_at     # Unix time
    cdef readonly uint64_t limit_data  # bytes each way, 0: none
    cdef readonly uint64_t limit_s     # 0: none
    cdef Side first                    # from the dialer
    cdef Side second                   # from the target
    cdef int open_sides
    cdef bint ending
    cdef bint stalled

    cdef void splice(self, Stream dialing, Stream stopping, Budget budget) noexcept
    cdef void check_stalled(self) noexcept
    cdef void cut_off(self) noexcept
    cdef void end(self) noexcept
