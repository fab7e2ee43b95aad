from towpath._native.channel cimport Channel
from towpath._native.session cimport Stream
from towpath._native.window cimport Reader


cdef class StreamChannel(Channel):
    cdef Stream stream
    cdef bint blocked
    cdef void over(self, Stream s) noexcept


cdef class Carrier(Reader):
    cdef StreamChannel channel
