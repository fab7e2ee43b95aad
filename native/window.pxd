from libc.stdint cimport uint32_t, uint64_t

from towpath._native.session cimport Handler, Stream


cdef class Reader(Handler):
    cdef uint32_t consumed             # not yet granted anew
    cdef uint32_t window               # what the other side may have under way
    cdef uint64_t granted_ns
    cdef void consume(self, Stream s, size_t n) noexcept
