from libc.stdint cimport uint64_t

from towpath._native.purse cimport Purse
from towpath._native.session cimport Session


cdef class Peer:
    cdef readonly bytes id
    cdef readonly list sessions
    cdef readonly object reservation   # hop.Reservation, or None
    cdef readonly int circuits         # at this relay, as dialer or target, those under way included
    cdef dict open                     # those that are open, id → Circuit; None: there was none
    cdef uint64_t ended_in             # bytes of its ended circuits: received from it, sent to it
    cdef uint64_t ended_out
    cdef Purse purse                   # of its account, if it has shown one
    cdef Session best(self)
    cdef Session direct(self)
