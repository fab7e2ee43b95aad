from libc.stdint cimport uint8_t

from towpath._native.core cimport tp_bytequeue
from towpath._native.session cimport Handler, Session, Stream


cdef class Protocol:
    # What a protocol id leads to. Sets s.handler.
    cdef void accept(self, Session session, Stream s) noexcept


cdef class Listening(Handler):
    cdef dict protocols
    cdef Stream stream
    cdef tp_bytequeue received
    cdef int lines
    cdef void _select(self, Stream s, const uint8_t* text, size_t n, size_t used) noexcept


cdef class Proposing(Handler):
    cdef Handler then
    cdef Stream stream
    cdef bytes protocol
    cdef tp_bytequeue received
    cdef int lines


cdef void listen(Session session, Stream s, dict protocols) noexcept
cdef Stream propose(Session session, bytes protocol, Handler then, bytes first)
