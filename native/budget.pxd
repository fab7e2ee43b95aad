from libc.stdint cimport int64_t, uint32_t, uint64_t

from towpath._native.core cimport tp_bytequeue
from towpath._native.meter cimport Meter
from towpath._native.purse cimport Purse
from towpath._native.session cimport Handler, Stream


cdef class Claimant(Handler):
    # One direction of a circuit, as a budget sees it.
    cdef Budget budget                 # None: nothing is counted or limited
    cdef Stream stream                 # received bytes come from here
    cdef Stream out                    # and go there
    cdef uint64_t bytes
    cdef double weight
    cdef double deficit
    cdef uint64_t room                 # credit it may claim: what it shows to have use for
    cdef uint64_t seen                 # bytes when room was last raised
    cdef bint queued
    cdef uint64_t noted                # bytes when it was last measured
    cdef uint64_t noted_ms             # and when they last had changed
    cdef Purse purse                   # its sender's, or None: nobody has to sign
    cdef bint purse_short              # it waits for a signature
    cdef uint64_t endowed              # bytes that it may send as far as the purse has reckoned with them
    cdef tp_bytequeue unpaid           # came beyond what the purse bears, and go out when it bears them
    cdef uint64_t told                 # bytes that Circuit.take has told of
    cdef uint32_t wants(self) noexcept
    cdef void give(self, uint32_t n) noexcept
    cdef void cut(self) noexcept
    cdef void resume(self) noexcept


cdef class Budget(Meter):
    cdef dict claimants                # Claimant → None, of all circuits
    cdef object ring                   # deque of those that want credit
    cdef bint governs                  # credit is claimed, not passed through
    cdef bint pressing                 # the rate was short lately
    cdef readonly bint exhausted       # the allowance is used up
    cdef public object on_exhausted
    cdef public object on_waiting
    cdef bint told_waiting

    cdef uint64_t quantum
    cdef int64_t issue                 # credit that keeps the pace, may be negative
    cdef int64_t issue_max
    cdef uint64_t paced_ns
    cdef uint64_t paced_received
    cdef uint64_t idle_ns              # when tokens to receive were last left over,
    cdef uint64_t busy_ns              # and when they last were not
    cdef uint64_t used_ns              # when an eighth of the rate was last in use
    cdef uint64_t sent_ns              # when nothing last waited to be sent

    cdef bint near                     # the end of the allowance is so near that credit is held back
    cdef int64_t left                  # credit that the allowance still bears
    cdef uint64_t measured_ms

    cdef double asked_at
    cdef uint64_t asked_received
    cdef uint64_t asked_sent
    cdef double received_per_s
    cdef double sent_per_s

    cdef void enter(self, Claimant c) noexcept
    cdef void leave(self, Claimant c) noexcept
    cdef void claim(self, Claimant c) noexcept
    cdef bint spend(self, uint32_t n) noexcept
    cdef uint32_t window_for(self, Claimant c) noexcept
    cdef void _judge(self) noexcept
    cdef void _pace(self) noexcept
    cdef bint _starved(self) noexcept
    cdef void _deal(self) noexcept
    cdef void _measure(self) noexcept
    cdef void _exhaust(self) noexcept
