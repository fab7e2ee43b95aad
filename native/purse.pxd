from libc.stdint cimport int64_t, uint32_t, uint64_t

from towpath._native.budget cimport Claimant


cdef class Purse:
    cdef object loop
    cdef object due                    # called, by the loop, when a signature is wanted
    cdef list waiting                  # those that want credit, or hold bytes, and get no further for now
    cdef readonly uint64_t carried     # bytes until now
    cdef readonly uint64_t signed
    cdef int64_t granted               # carried, and what its senders may send before they are granted more
    cdef uint64_t ask_at
    cdef uint64_t ceiling              # granted should, and carried must, come to here at most
    cdef bint asked
    cdef void join(self, Claimant c) noexcept
    cdef void part(self, Claimant c) noexcept
    cdef size_t carry(self, Claimant c, size_t n) noexcept
    cdef uint32_t take(self, Claimant c, uint32_t want) noexcept
    cdef void note(self, Claimant c, uint32_t n) noexcept
    cdef void _wait(self, Claimant c) noexcept
    cdef void _ask(self) noexcept
