from libc.stdint cimport uint8_t, uint32_t, uint64_t

from towpath._native.core cimport tp_bytequeue
from towpath._native.negotiate cimport Protocol
from towpath._native.session cimport Handler, Session, Stream


cdef class AppStream(Handler):
    cdef Stream stream
    cdef Session session_
    cdef readonly str protocol
    cdef tp_bytequeue inbox
    cdef uint32_t consumed             # not yet granted anew
    cdef uint32_t window               # what the other side may have under way
    cdef uint64_t granted_ns
    cdef readonly bint ended           # the other side closed its direction
    cdef readonly bint was_reset
    cdef readonly bint discarding      # what comes is no longer wanted
    cdef object reader                 # future that waits for bytes, or None
    cdef object writer                 # future that waits for room
    cdef object opener                 # future that waits for the protocol
    cdef void _wake_reader(self) noexcept
    cdef void _wake_writer(self) noexcept
    cdef void _consume(self, size_t n) noexcept


cdef class AppProtocol(Protocol):
    cdef object accepted
    cdef str name
