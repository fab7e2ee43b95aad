from libc.stdint cimport int64_t, uint8_t, uint64_t

from towpath._native.core cimport tp_bucket
from towpath._native.reactor cimport Pollable, Reactor

cdef enum:
    RECEIVING = 1              # bits of Pollable.held
    SENDING = 2

ctypedef struct Pace:
    tp_bucket receive          # of one socket alone
    tp_bucket send


cdef class Meter:
    cdef readonly Reactor reactor
    cdef readonly uint64_t received    # socket bytes since the start
    cdef readonly uint64_t sent
    cdef bint limited                  # a rate or an end is in force: ask before each recv and send
    cdef tp_bucket receive
    cdef tp_bucket send
    cdef uint64_t turn                 # bytes a socket moves before the next one's turn
    cdef uint64_t end_received         # counters at which nothing more is moved
    cdef uint64_t end_sent
    cdef uint64_t granted_received     # counters at which sockets wait until more is granted
    cdef uint64_t granted_sent
    cdef uint64_t watch_received       # counters from which on_short is told
    cdef uint64_t watch_sent
    cdef object receiving              # deques of Pollables that wait for tokens,
    cdef object sending
    cdef object receiving_slowly       # and of those that their own pace holds
    cdef object sending_slowly
    cdef bint serving
    cdef bint ticking
    cdef object handle

    cdef int64_t may_receive(self, Pace* own) noexcept
    cdef int64_t may_send(self, Pace* own) noexcept
    cdef void was_received(self, uint64_t n, Pace* own) noexcept
    cdef void was_sent(self, uint64_t n, Pace* own) noexcept
    cdef void hold(self, Pollable p, uint8_t what, Pace* own) noexcept
    cdef bint others_wait(self, uint8_t what) noexcept
    cdef bint _ungranted(self, uint8_t what) noexcept
    cdef bint _serve(self, object waiting, uint8_t what, tp_bucket* bucket) noexcept
    cdef void tick_soon(self) noexcept
    cdef bint at_rest(self) noexcept
    cdef void on_tick(self) noexcept
    cdef void on_short(self) noexcept
    cdef void on_ungranted(self) noexcept
