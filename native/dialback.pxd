from libc.stdint cimport uint64_t

from towpath._native.core cimport tp_autonat_msg, tp_bytequeue
from towpath._native.endpoint cimport Endpoint
from towpath._native.session cimport Stream


cdef class DialService:
    cdef Endpoint endpoint
    cdef Endpoint dialer               # of the dial-backs, made for the first one
    cdef object policy
    cdef object done
    cdef int requests                  # that are being read, served or left by their clients
    cdef bint closed
    cdef void serve(self, bint on)
    cdef void close(self)
    cdef Endpoint dialing_endpoint(self)


cdef int frame(tp_bytequeue* q, size_t most, uint64_t* length) noexcept
cdef bytes framed(const tp_autonat_msg* m)
cdef void send(Stream s, bytes data) noexcept
