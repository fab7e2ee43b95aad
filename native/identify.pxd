from towpath._native.core cimport tp_bytequeue
from towpath._native.negotiate cimport Protocol
from towpath._native.session cimport Handler, Session, Stream


cdef class IdentifyProtocol(Protocol):
    cdef bytes message                 # ours, without the observed address
    cdef void publish(self, bytes key_pb, str agent, list listen, list protocols)
    cdef bytes answer(self, Session session)


cdef class IdentifyPushProtocol(Protocol):
    cdef object on_identified


cdef void ask(Session session, object on_identified) noexcept
cdef void push(Session session, IdentifyProtocol ours) noexcept
