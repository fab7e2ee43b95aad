from libc.stdint cimport uint8_t, uint32_t, uint64_t

from towpath._native.channel cimport Channel
from towpath._native.session cimport Handler, Stream


cdef class StreamChannel(Channel):
    cdef Stream stream
    cdef bint blocked
    cdef void over(self, Stream s) noexcept


cdef class Carrier(Handler):
    cdef StreamChannel channel
    cdef uint32_t consumed
    cdef uint32_t window
    cdef uint64_t granted_ns
