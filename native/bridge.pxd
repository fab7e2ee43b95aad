from libc.stdint cimport uint8_t, uint32_t, uint64_t

from towpath._native.core cimport tp_bytequeue
from towpath._native.reactor cimport Pollable
from towpath._native.session cimport Handler, Stream


cdef class Side(Handler):
    cdef Bridge bridge


cdef class Bridge(Pollable):
    cdef Stream stream                 # None once it has left its session
    cdef Side side
    cdef tp_bytequeue out              # from the stream, not yet taken by the socket
    cdef size_t counted                # of its memory, as held by the reactor
    cdef uint32_t consumed             # taken by the socket, not yet granted anew
    cdef uint64_t used_ms              # when bytes last went either way
    cdef uint64_t idle_ms
    cdef bint ended_there              # the other side of the stream will send no more
    cdef bint ended_here               # nor will the process behind the socket
    cdef readonly uint64_t bytes_in    # from the stream
    cdef readonly uint64_t bytes_out   # to the stream
    cdef public object on_end          # called once nothing is left of either

    cdef void take(self, uint8_t* p, size_t n) noexcept
    cdef void took(self, size_t n) noexcept
    cdef void watch(self) noexcept
    cdef void count(self) noexcept
    cdef void end_output(self) noexcept
    cdef void process_gone(self) noexcept
    cdef void stream_gone(self) noexcept
    cdef void end(self) noexcept
    cdef void close_socket(self) noexcept
    cdef void finish(self) noexcept
