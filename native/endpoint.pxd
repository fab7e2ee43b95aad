from libc.stdint cimport uint8_t, uint32_t, uint64_t

from towpath._native.budget cimport Budget
from towpath._native.channel cimport Channel, Observer
from towpath._native.handshake cimport Identity
from towpath._native.hop cimport Relay
from towpath._native.identify cimport IdentifyProtocol
from towpath._native.reactor cimport Pollable, Reactor
from towpath._native.session cimport Session, SessionOwner, Stream


cdef class Listener(Pollable):
    cdef Endpoint endpoint
    cdef object socket


cdef class Endpoint(SessionOwner):
    cdef readonly Reactor reactor
    cdef readonly Identity identity
    cdef dict protocols                # protocol id (bytes) → Protocol
    cdef readonly dict peers           # peer id (bytes) → Peer
    cdef readonly Relay relay
    cdef Budget budget
    cdef IdentifyProtocol identify
    cdef list listeners
    cdef dict dialing                  # Channel → future of Session
    cdef set handshaking               # channels whose handshake is under way
    cdef public int max_connections
    cdef readonly int connections
    cdef readonly uint64_t accepted
    cdef readonly uint64_t handshakes_failed
    cdef public bint ask_identify
    cdef public object on_session      # called with each new Session
    cdef public object on_session_end  # called with (Session, why)
    cdef public object on_identified   # called with a Session that said who it is
    cdef public uint64_t idle_ms
    cdef public uint64_t inner_idle_ms
    cdef str agent
    cdef readonly list addresses       # that identify tells
    cdef readonly bint closed
    cdef Observer observer             # of its sockets, None: nobody samples them
    cdef int traffic_class             # of their packets (IP_TOS, IPV6_TCLASS)
    cdef void accept(self, int fd, bytes remote) noexcept
    cdef object _expect(self, Channel c)
    cdef list socket_channels(self)
