from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from towpath._native.core cimport tp_cipher
from towpath._native.handshake cimport Handshake, Identity
from towpath._native.meter cimport Meter, Pace
from towpath._native.reactor cimport Chunk, Pollable, Reactor, Timed

cdef enum:
    QUEUE_HIGH = 262144        # sealed, unsent bytes of a channel above which streams are held back
    QUEUE_LOW = 65536          # and below which they go on
    NOTED_FROM = 4096          # bytes that a socket moves before it is sampled: greetings and pings are no load


cdef class Upper(Timed):
    # What a channel carries: the session.
    cdef void on_plain(self, uint8_t* p, size_t n) noexcept
    cdef void on_drained(self) noexcept
    cdef void on_channel_closed(self, str why) noexcept


cdef class Opener:
    # Who waits for a channel's handshake.
    cdef void on_opened(self, Channel channel) noexcept
    cdef void on_open_failed(self, Channel channel, str why) noexcept


cdef class Observer:
    # Who samples the sockets that move bytes: linequality.
    cdef void note(self, Channel c) noexcept


cdef class Channel(Pollable):
    cdef Upper upper
    cdef Opener opener
    cdef Handshake handshake
    cdef Identity me
    cdef tp_cipher send_cipher
    cdef tp_cipher recv_cipher
    cdef readonly bytes peer_id        # who the handshake proved the other end to be, wanted or not
    cdef readonly bytes expected_peer  # set by the dialer: nobody else will do
    cdef readonly bytes remote         # multiaddr of the other end, empty for one that came through a relay
    cdef readonly bytes via            # peer id of the relay it came through, or empty
    cdef readonly bint initiator
    cdef readonly bint open
    cdef readonly bint closed
    cdef bint closing                  # closes as soon as everything is sent
    cdef bint broken                   # a message could not be sealed: nothing may follow

    cdef Chunk* first                  # what is to be sent, oldest first
    cdef Chunk* last
    cdef size_t queued                 # sealed bytes in them
    cdef bint message_open             # the last chunk ends in a message not yet sealed
    cdef size_t message_at             # where its two length bytes stand
    cdef size_t message_end            # where its plaintext ends
    cdef size_t frame_at               # header of its last DATA frame, 0: none
    cdef uint32_t frame_stream
    cdef uint8_t* partial              # an incomplete received message, with HEADROOM before it
    cdef size_t partial_n
    cdef size_t partial_room           # counted as held by the reactor
    cdef bint above_high
    cdef bint stalled                  # the transport took no more: entered with the reactor
    cdef uint64_t rtt_read_ms
    cdef uint64_t measured_ms          # when a budget last counted what it has queued
    cdef uint32_t rtt_least_us
    cdef int os_error                  # errno of what ended the socket, 0: nothing of that kind

    cdef void start(self, Reactor reactor, Identity me, bint initiator, Opener opener, uint64_t timeout_ms) noexcept
    cdef void feed(self, uint8_t* p, size_t n) noexcept
    cdef int _keep_partial(self, uint8_t* p, size_t n) noexcept
    cdef uint8_t* _take_partial(self) noexcept
    cdef void _drop_partial(self) noexcept
    cdef void feed_piece(self, uint8_t* p, size_t n) noexcept
    cdef void _flush_handshake(self) noexcept
    cdef void _advance_handshake(self, uint8_t* p, size_t n) noexcept
    cdef int _put_raw(self, const uint8_t* p, size_t n) noexcept
    cdef uint8_t* _room(self, size_t n) noexcept
    cdef int _new_chunk(self) noexcept
    cdef void seal_message(self) noexcept
    cdef int put_control(self, uint8_t type, uint16_t flags, uint32_t stream, uint32_t length) noexcept
    cdef int put_data(self, uint32_t stream, uint16_t flags, uint8_t* p, size_t n, bint headroom) noexcept
    cdef int _put_direct(self, uint32_t stream, uint16_t flags, uint8_t* p, size_t n) noexcept
    cdef void _set_stalled(self, bint on) noexcept
    cdef ssize_t transmit(self, const uint8_t* p, size_t n) noexcept
    cdef void waiting_to_send(self, bint waiting) noexcept
    cdef uint64_t rtt_us(self, uint64_t now_ms) noexcept
    cdef uint32_t unheard_ms(self) noexcept
    cdef void shut(self) noexcept
    cdef void fail(self, str why) noexcept
    cdef void finish(self) noexcept


cdef class SocketChannel(Channel):
    cdef Meter meter                   # counts and limits its bytes, or None
    cdef Pace* pace                    # a rate of its own, or NULL
    cdef bint full                     # the kernel took less than it was given
    cdef void set_pace(self, uint64_t rate) noexcept
    cdef int64_t _may_receive(self) noexcept
    cdef void _watch(self) noexcept
    cdef Observer observer             # None: nobody samples it
    cdef bint noted                    # it moved enough since its last sample, and the observer knows
    cdef uint32_t moved                # bytes since then, both ways
    cdef uint64_t sampled_ns           # its last sample, 0: none yet
    cdef uint64_t sampled_acked        # what the kernel had counted by then
    cdef uint64_t sampled_received
    cdef inline void count(self, size_t n) noexcept


cdef class MemoryChannel(Channel):
    cdef object sent
