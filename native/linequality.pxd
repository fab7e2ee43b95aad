from towpath._native.channel cimport Channel, Observer
from towpath._native.endpoint cimport Endpoint


cdef class LineWatch(Observer):
    cdef Endpoint endpoint
    cdef object noted                  # deque of SocketChannel that moved bytes since their last sample
    cdef public object on_moving       # called when the first of them is noted
    cdef readonly bint watching
    cdef void note(self, Channel c) noexcept
