from towpath._native.core cimport tp_bytequeue
from towpath._native.negotiate cimport Protocol
from towpath._native.session cimport Session, Stream
from towpath._native.window cimport Reader


cdef class AppStream(Reader):
    cdef Stream stream
    cdef Session session_
    cdef readonly str protocol
    cdef tp_bytequeue inbox
    cdef readonly bint ended           # the other side closed its direction
    cdef readonly bint was_reset
    cdef readonly bint discarding      # what comes is no longer wanted
    cdef object reader                 # future that waits for bytes, or None
    cdef object writer                 # future that waits for room
    cdef object opener                 # future that waits for the protocol
    cdef void _wake_reader(self) noexcept
    cdef void _wake_writer(self) noexcept


cdef class AppProtocol(Protocol):
    cdef object accepted
    cdef str name
