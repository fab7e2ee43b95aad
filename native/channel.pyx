# cython: language_level=3
"""A channel: a byte transport made private by Noise. Plaintext goes up to the session, frames come down from it.

Receiving decrypts in place. Sending collects what one slice brings: frames are appended to an open message at the
place in a chunk where it will be sealed, neighbouring small DATA frames of a stream become one, and a
large payload is sealed straight from where it was decrypted, its new header written over the bytes before it
(the old header, or the tag and length of the message before: dead by then). At the end of the
slice everything goes out in as few `send` calls as possible.

`SocketChannel` runs over TCP, `MemoryChannel` over nothing (tests and instruction counts); circuits carry an inner
channel (inner.pyx) by the same code.
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from towpath._native.core cimport (
    TP_AEAD_TAG, TP_NOISE_PLAIN_MAX, TP_YAMUX_DATA, TP_YAMUX_HEADER,
    tp_be32, tp_bucket_set, tp_bytequeue_drop, tp_bytequeue_head, tp_bytequeue_size, tp_cipher_wipe,
    tp_open, tp_put_be32, tp_seal, tp_yamux_put,
)
from towpath._native.handshake cimport Handshake, Identity
from towpath._native.meter cimport RECEIVING, SENDING, Meter, Pace
from towpath._native.reactor cimport HEADROOM, READ_MAX, Chunk, Pollable, Reactor, Timed
from towpath._native.system cimport (
    EAGAIN, EINTR, EPOLLET, EPOLLIN, EPOLLOUT, IPPROTO_TCP, MSG_NOSIGNAL, TCP_INFO, close, errno,
    getsockopt, recv, send, socklen_t, tcp_info,
)

cdef enum:
    DIRECT_MIN = 4096          # payloads from here on are sealed where they are instead of being copied together
    FRAME_PAYLOAD = TP_NOISE_PLAIN_MAX - TP_YAMUX_HEADER
    UNSENT_MAX = 8388608       # more unsent bytes than any credit allows: the peer does not read our answers
    SEND_STALL_MS = 60000      # a socket that takes nothing for so long is dead


@cython.no_gc
cdef class Upper(Timed):
    """The layer above a channel."""

    cdef void on_plain(self, uint8_t* p, size_t n) noexcept:
        pass

    cdef void on_drained(self) noexcept:
        pass

    cdef void on_channel_closed(self, str why) noexcept:
        pass


cdef class Opener:
    """Whoever waits for a handshake to end."""

    cdef void on_opened(self, Channel channel) noexcept:
        pass

    cdef void on_open_failed(self, Channel channel, str why) noexcept:
        pass


cdef class Observer:
    """Who wants to know which sockets move bytes."""

    cdef void note(self, Channel c) noexcept:
        """c moved NOTED_FROM bytes since it was sampled last; once until the next sample."""
        pass


@cython.no_gc
cdef class Channel(Pollable):
    """Base of all channels; subclasses say how bytes are transmitted and what closing means."""

    def __dealloc__(self):
        cdef Chunk* c
        while self.first != NULL:
            c = self.first
            self.first = c.next
            self.reactor.give_chunk(c)
        self._drop_partial()

    cdef void start(self, Reactor reactor, Identity me, bint initiator, Opener opener, uint64_t timeout_ms) noexcept:
        self.reactor = reactor
        self.me = me
        self.initiator = initiator
        self.opener = opener
        self.handshake = Handshake.__new__(Handshake)
        self.handshake.me = me
        self.handshake.aead = reactor.aead
        self.handshake.initiator = initiator
        self.handshake.begin()
        reactor.arm(self, timeout_ms)
        self._flush_handshake()

    cdef void on_timer(self) noexcept:
        if not self.open:
            self.fail("the handshake took too long")
        elif self.partial != NULL:
            self.fail("the other side leaves a message unfinished while memory is short")
        else:
            self.fail("the other side takes no more bytes")

    # --- receiving ---------------------------------------------------------------------------

    cdef void feed(self, uint8_t* p, size_t n) noexcept:
        """Takes n received bytes at p, which may be overwritten, as may the HEADROOM bytes before."""
        cdef size_t length
        cdef Upper upper = self.upper
        if not self.open:
            self._advance_handshake(p, n)
            return
        while n >= 2:
            length = <size_t>p[0] << 8 | p[1]
            if length < TP_AEAD_TAG:
                self.fail("a message is shorter than its tag")
                return
            if n < 2 + length:
                break
            if tp_open(self.reactor.aead, &self.recv_cipher, p + 2, length, NULL, 0) != 0:
                self.fail("a message is forged or damaged")
                return
            if length > TP_AEAD_TAG:
                upper.on_plain(p + 2, length - TP_AEAD_TAG)
                if self.closed:
                    return
            p += 2 + length
            n -= 2 + length
        if n and self._keep_partial(p, n) != 0:
            self.fail("no memory")

    cdef int _keep_partial(self, uint8_t* p, size_t n) noexcept:
        # Room for all of the message, once its length is known.
        cdef size_t room = 2 + (<size_t>p[0] << 8 | p[1]) if n >= 2 else 2
        self.partial = <uint8_t*>malloc(HEADROOM + room)
        if self.partial == NULL:
            return -1
        memcpy(self.partial + HEADROOM, p, n)
        self.partial_n = n
        self.partial_room = HEADROOM + room
        if self.reactor.held > self.reactor.budget >> 1:
            # Memory is getting scarce: who leaves a message unfinished is among those that go.
            self._set_stalled(True)
        self.reactor.hold(self.partial_room)
        return 0

    cdef uint8_t* _take_partial(self) noexcept:
        # The caller frees it.
        cdef uint8_t* kept = self.partial
        if kept != NULL:
            self.reactor.unhold(self.partial_room)
            self.partial = NULL
            self.partial_n = 0
            if self.stalled and self.first == NULL:
                self._set_stalled(False)
        return kept

    cdef void _drop_partial(self) noexcept:
        free(self._take_partial())

    cdef void feed_piece(self, uint8_t* p, size_t n) noexcept:
        """Like feed, for bytes that cannot be put behind those kept from before: completes the partial message
        first."""
        cdef uint8_t* kept
        cdef size_t have, need, take
        while self.partial != NULL and n and self.open:
            kept = self.partial
            have = self.partial_n
            need = 2 if have < 2 else 2 + (<size_t>kept[HEADROOM] << 8 | kept[HEADROOM + 1])
            take = min(need - have, n)
            memcpy(kept + HEADROOM + have, p, take)
            self.partial_n = have = have + take
            p += take
            n -= take
            if have < need:
                return
            self._take_partial()
            # Completes the message, or learns its length and keeps it again with room for all of it.
            self.feed(kept + HEADROOM, have)
            free(kept)
            if self.closed:
                return
        if n:
            self.feed(p, n)

    cdef void _advance_handshake(self, uint8_t* p, size_t n) noexcept:
        cdef Handshake h = self.handshake
        cdef Opener opener = self.opener
        cdef Upper upper
        cdef int r = h.feed(p, n)
        self._flush_handshake()
        if self.closed or r == 0:
            return
        if r < 0:
            self.fail(h.error)
            return
        self.peer_id = h.peer_id
        if self.expected_peer is not None and h.peer_id != self.expected_peer:
            self.fail("the peer proved another identity than the one dialed")
            return
        self.send_cipher = h.send_cipher
        self.recv_cipher = h.recv_cipher
        self.cancel_timer()
        self.handshake = None
        self.opener = None
        self.open = True
        opener.on_opened(self)
        upper = self.upper
        if not self.closed and tp_bytequeue_size(&h.plain):
            upper.on_plain(tp_bytequeue_head(&h.plain), tp_bytequeue_size(&h.plain))
        if not self.closed and tp_bytequeue_size(&h.received):
            self.feed(tp_bytequeue_head(&h.received), tp_bytequeue_size(&h.received))

    cdef void _flush_handshake(self) noexcept:
        cdef Handshake h = self.handshake
        cdef size_t n = tp_bytequeue_size(&h.out)
        if n:
            if self._put_raw(tp_bytequeue_head(&h.out), n) != 0:
                self.fail("no memory")
                return
            tp_bytequeue_drop(&h.out, n)

    # --- sending -----------------------------------------------------------------------------

    cdef int _new_chunk(self) noexcept:
        cdef Chunk* c = self.reactor.take_chunk()
        if c == NULL:
            return -1
        if self.last == NULL:
            self.first = c
        else:
            self.last.next = c
        self.last = c
        self.reactor.mark_dirty(self)
        return 0

    cdef int _put_raw(self, const uint8_t* p, size_t n) noexcept:
        # Handshake bytes: no message is open then.
        if self.last == NULL or self.last.room - self.last.end < n:
            if self._new_chunk() != 0:
                return -1
        memcpy(self.last.data + self.last.end, p, n)
        self.last.end += n
        self.queued += n
        self.reactor.mark_dirty(self)
        return 0

    cdef uint8_t* _room(self, size_t n) noexcept:
        # Room for n more bytes of plaintext in the open message; a full one is sealed and the next one begun.
        cdef size_t at
        cdef uint8_t* place
        if self.message_open:
            if self.message_end - self.message_at - 2 + n <= TP_NOISE_PLAIN_MAX and \
                    self.message_end + n + TP_AEAD_TAG <= self.last.room:
                place = self.last.data + self.message_end
                self.message_end += n
                return place
            self.seal_message()
        if self.last == NULL or self.last.end + 2 + n + TP_AEAD_TAG > self.last.room:
            if self._new_chunk() != 0:
                return NULL
        at = self.last.end
        self.message_open = True
        self.message_at = at
        self.message_end = at + 2 + n
        self.frame_at = 0
        self.reactor.mark_dirty(self)
        return self.last.data + at + 2

    cdef void seal_message(self) noexcept:
        """Seals the open message, if there is one, where it stands."""
        cdef uint8_t* at
        cdef size_t n
        if not self.message_open:
            return
        self.message_open = False
        self.frame_at = 0
        at = self.last.data + self.message_at
        n = self.message_end - self.message_at - 2
        if tp_seal(self.reactor.aead, &self.send_cipher, at + 2, at + 2, n, NULL, 0) != 0:
            self.broken = True
            return
        n += TP_AEAD_TAG
        at[0] = n >> 8
        at[1] = n & 255
        self.last.end += 2 + n
        self.queued += 2 + n

    cdef int put_control(self, uint8_t type, uint16_t flags, uint32_t stream, uint32_t length) noexcept:
        """Queues a frame without a body. 0, or -1 when the channel is closed or memory is short."""
        cdef uint8_t* place
        if self.closed:
            return -1
        place = self._room(TP_YAMUX_HEADER)
        if place == NULL:
            return -1
        tp_yamux_put(place, type, flags, stream, length)
        self.frame_at = 0
        return 0

    cdef int put_data(self, uint32_t stream, uint16_t flags, uint8_t* p, size_t n, bint headroom) noexcept:
        """Queues n bytes as DATA of a stream. headroom: the 12 bytes before p may be overwritten, so that a large
        payload needs no copy. 0, or -1 when the channel is closed or memory is short."""
        cdef uint8_t* place
        cdef uint8_t* header
        cdef size_t k
        if self.closed:
            return -1
        if headroom and n >= DIRECT_MIN:
            return self._put_direct(stream, flags, p, n)
        if self.frame_at and self.frame_stream == stream and flags == 0:
            # The message ends in DATA of this stream: let that frame grow.
            k = TP_NOISE_PLAIN_MAX - (self.message_end - self.message_at - 2)
            if n <= k and self.message_end + n + TP_AEAD_TAG <= self.last.room:
                memcpy(self.last.data + self.message_end, p, n)
                self.message_end += n
                header = self.last.data + self.frame_at
                tp_put_be32(header + 8, tp_be32(header + 8) + <uint32_t>n)
                return 0
        while True:
            k = min(n, <size_t>FRAME_PAYLOAD)
            place = self._room(TP_YAMUX_HEADER + k)
            if place == NULL:
                return -1
            tp_yamux_put(place, TP_YAMUX_DATA, flags, stream, <uint32_t>k)
            if k:  # a bare FIN comes with p = NULL, which memcpy must never see
                memcpy(place + TP_YAMUX_HEADER, p, k)
            self.frame_at = place - self.last.data
            self.frame_stream = stream
            p += k
            n -= k
            if n == 0:
                return 0
            flags = 0

    cdef int _put_direct(self, uint32_t stream, uint16_t flags, uint8_t* p, size_t n) noexcept:
        cdef size_t k, length
        cdef uint8_t* at
        self.seal_message()
        while n:
            k = min(n, <size_t>FRAME_PAYLOAD)
            length = TP_YAMUX_HEADER + k
            if self.last == NULL or self.last.end + 2 + length + TP_AEAD_TAG > self.last.room:
                if self._new_chunk() != 0:
                    return -1
            tp_yamux_put(p - TP_YAMUX_HEADER, TP_YAMUX_DATA, flags, stream, <uint32_t>k)
            at = self.last.data + self.last.end
            if tp_seal(self.reactor.aead, &self.send_cipher, at + 2, p - TP_YAMUX_HEADER, length, NULL, 0) != 0:
                self.broken = True
                break
            length += TP_AEAD_TAG
            at[0] = length >> 8
            at[1] = length & 255
            self.last.end += 2 + length
            self.queued += 2 + length
            p += k
            n -= k
            flags = 0
        self.reactor.mark_dirty(self)
        return 0

    cdef void on_flush(self) noexcept:
        """Seals what is open and transmits; keeps what the transport does not take."""
        cdef Chunk* c
        cdef Upper upper
        cdef ssize_t sent
        cdef bint moved = False
        if self.closed:
            return
        self.seal_message()
        if self.broken:
            self.fail("a message could not be sealed")
            return
        while self.first != NULL:
            c = self.first
            if c.end > c.start:
                sent = self.transmit(c.data + c.start, c.end - c.start)
                if sent < 0:
                    self.fail("the connection was reset")
                    return
                moved = moved or sent > 0
                c.start += sent
                self.queued -= sent
                if c.start < c.end:
                    break
            self.first = c.next
            self.reactor.give_chunk(c)
        if self.first == NULL:
            self.last = NULL
            self._set_stalled(False)
            self.waiting_to_send(False)
            if self.closing:
                self.fail("closed")
                return
        else:
            if self.first == self.last:
                self.first = self.last = self.reactor.shrink_chunk(self.first)
            self.waiting_to_send(True)
            if self.open and (moved or self.held & SENDING or self.timer.next == NULL):
                self.reactor.arm(self, SEND_STALL_MS)
            if self.queued > UNSENT_MAX:
                self.fail("the other side does not read")
                return
            if moved:
                self._set_stalled(False)
            self._set_stalled(not self.held & SENDING)
            if self.reactor.held > self.reactor.budget:
                self.reactor.hold(0)
                if self.closed:
                    return
        if self.queued > QUEUE_HIGH:
            self.above_high = True
        elif self.above_high and self.queued <= QUEUE_LOW:
            self.above_high = False
            upper = self.upper
            if upper is not None:
                upper.on_drained()

    cdef void _set_stalled(self, bint on) noexcept:
        if on != self.stalled:
            self.stalled = on
            self.reactor.set_stalled(self, on)

    cdef ssize_t transmit(self, const uint8_t* p, size_t n) noexcept:
        """Hands bytes to the transport; how many it took, -1 when it is dead."""
        return -1

    cdef void waiting_to_send(self, bint waiting) noexcept:
        """Whether on_flush shall be called as soon as the transport takes more."""
        pass

    cdef uint64_t rtt_us(self, uint64_t now_ms) noexcept:
        """The least round-trip time to the other end in microseconds, as the transport knows it; 0: unknown."""
        return 0

    cdef uint32_t unheard_ms(self) noexcept:
        """Milliseconds since the other end acknowledged anything, while something waits for that, as the transport
        knows; else 0. A receiver that only takes its time acknowledges."""
        return 0

    # --- the end -----------------------------------------------------------------------------

    cdef void shut(self) noexcept:
        """Closes the transport."""
        pass

    cdef void finish(self) noexcept:
        """Closes after everything queued is sent."""
        if self.closed:
            return
        self.closing = True
        self.reactor.mark_dirty(self)

    cdef void fail(self, str why) noexcept:
        """Closes now and tells the layer above."""
        cdef Upper upper = self.upper
        cdef Opener opener = self.opener
        cdef Chunk* c
        if self.closed:
            return
        self.closed = True
        self.cancel_timer()
        self._set_stalled(False)
        self.shut()
        self.upper = None
        self.opener = None
        self.handshake = None
        self.message_open = False
        self._drop_partial()
        while self.first != NULL:
            c = self.first
            self.first = c.next
            self.reactor.give_chunk(c)
        self.last = NULL
        self.queued = 0
        tp_cipher_wipe(self.reactor.aead, &self.send_cipher)
        tp_cipher_wipe(self.reactor.aead, &self.recv_cipher)
        if upper is not None:
            upper.on_channel_closed(why)
        elif opener is not None:
            opener.on_open_failed(self, why)


@cython.no_gc
cdef class SocketChannel(Channel):
    """A channel over a connected (or connecting) non-blocking TCP socket, which it owns and closes."""

    def __dealloc__(self):
        free(self.pace)

    cdef void on_readable(self) noexcept:
        cdef Meter meter = self.meter
        cdef uint8_t* at = self.reactor.rx + HEADROOM
        cdef size_t have = self.partial_n
        cdef size_t most = READ_MAX
        cdef size_t whole
        cdef bint limited = meter is not None and (meter.limited or self.pace != NULL)
        cdef int64_t may
        cdef ssize_t n
        if have >= 2:
            # Complete the message and read whole ones of its size: so the next read likely begins on a message's edge.
            whole = 2 + (<size_t>self.partial[HEADROOM] << 8 | self.partial[HEADROOM + 1])
            most = whole - have
            most += (READ_MAX - most) // whole * whole
        if limited:
            may = self._may_receive()
            if may == 0:
                return
            limited = most > <size_t>may
            if limited:
                most = <size_t>may
        n = recv(self.fd, at + have, most, 0)
        if n <= 0:
            if n < 0 and (errno == EAGAIN or errno == EINTR):
                self._watch()
                return
            self.os_error = errno if n < 0 else 0
            self.fail("the other side closed the connection" if n == 0 else "the connection was reset")
            return
        self.reactor.bytes_read += n
        if meter is not None:
            meter.received += n
            if meter.limited or self.pace != NULL:
                meter.was_received(n, self.pace)
                if limited and <size_t>n == most and meter.others_wait(RECEIVING):
                    meter.hold(self, RECEIVING, self.pace)
                self._watch()
            elif not self.interest & EPOLLIN:
                self._watch()      # the limit is gone for which it was held
        self.count(n)
        if have:
            memcpy(at, self.partial + HEADROOM, have)
            self._drop_partial()
        self.feed(at, have + n)

    cdef int64_t _may_receive(self) noexcept:
        # Bytes that may be read now; 0: it waits for its turn, or has just been closed.
        cdef int64_t may
        if self.held & RECEIVING:
            return 0               # told of an error or a hang-up, which the next turn will find, too
        may = self.meter.may_receive(self.pace)
        if may < 0:
            self.fail("the quota of this relay is used up")
            return 0
        if may == 0:
            self.meter.hold(self, RECEIVING, self.pace)
            self._watch()
        return may

    cdef void on_writable(self) noexcept:
        self.on_flush()

    cdef ssize_t transmit(self, const uint8_t* p, size_t n) noexcept:
        cdef Meter meter = self.meter
        cdef bint limited = meter is not None and (meter.limited or self.pace != NULL)
        cdef size_t most = n
        cdef int64_t may
        cdef ssize_t sent
        self.full = False
        if limited:
            if self.held & SENDING:
                return 0
            may = meter.may_send(self.pace)
            if may <= 0:
                if may < 0:
                    return -1
                meter.hold(self, SENDING, self.pace)
                return 0
            most = min(n, <size_t>may)
        sent = send(self.fd, p, most, MSG_NOSIGNAL)
        if sent < 0:
            if errno == EAGAIN or errno == EINTR:
                self.full = True
                return 0
            self.os_error = errno
            return -1
        self.reactor.bytes_sent += sent
        if meter is not None:
            meter.sent += sent
            if limited:
                meter.was_sent(sent, self.pace)
        self.full = <size_t>sent < most
        if limited and most < n and not self.full:
            meter.hold(self, SENDING, self.pace)
        self.count(sent)
        return sent

    cdef inline void count(self, size_t n) noexcept:
        if self.observer is not None and not self.noted:
            self.moved += <uint32_t>n
            if self.moved >= NOTED_FROM:
                self.noted = True
                self.observer.note(self)

    cdef void waiting_to_send(self, bint waiting) noexcept:
        self.full = waiting
        self._watch()
        if not waiting and self.open:
            self.cancel_timer()

    cdef void _watch(self) noexcept:
        # What a meter keeps from it is not watched. Errors and hang-ups are always told: edge-triggered then, so once.
        cdef uint32_t interest = 0 if self.held & RECEIVING else EPOLLIN
        if self.full and not self.held & SENDING:
            interest |= EPOLLOUT
        self.reactor.want(self, interest if interest else EPOLLET)

    cdef void set_pace(self, uint64_t rate) noexcept:
        """A rate of its own in bytes a second, each way; 0: none."""
        if rate == 0:
            free(self.pace)
            self.pace = NULL
            return
        if self.pace == NULL:
            self.pace = <Pace*>calloc(1, sizeof(Pace))
        if self.pace != NULL:
            tp_bucket_set(&self.pace.receive, rate, self.reactor.clock_ns())
            tp_bucket_set(&self.pace.send, rate, self.reactor.clock_ns())

    cdef uint64_t rtt_us(self, uint64_t now_ms) noexcept:
        cdef tcp_info info
        cdef socklen_t n = sizeof(info)
        if self.rtt_read_ms == 0 or now_ms - self.rtt_read_ms > 200:
            self.rtt_read_ms = now_ms
            if getsockopt(self.fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0:
                self.rtt_least_us = info.tcpi_min_rtt
        return self.rtt_least_us

    cdef uint32_t unheard_ms(self) noexcept:
        cdef tcp_info info
        cdef socklen_t n = sizeof(info)
        if getsockopt(self.fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0 or info.tcpi_unacked == 0:
            return 0
        return info.tcpi_last_ack_recv

    cdef void shut(self) noexcept:
        self.observer = None
        if self.fd >= 0:
            self.reactor.unregister(self)
            close(self.fd)
            self.fd = -1


@cython.no_gc
cdef class MemoryChannel(Channel):
    """A channel between two pieces of a program (Endpoint.over_memory): bytes come in by `receive`, bytes to send go
    to `sent`, which must not call back, and returns how many it took (None: all). When it took less than all, `resume`
    says that it takes more."""

    def receive(self, bytes data not None):
        """Feeds received bytes and flushes the answers."""
        cdef uint8_t* p
        cdef size_t n = len(data)
        if n == 0 or self.closed:
            return
        p = <uint8_t*>malloc(HEADROOM + n)
        if p == NULL:
            raise MemoryError()
        memcpy(p + HEADROOM, <const uint8_t*>data, n)
        self.feed_piece(p + HEADROOM, n)
        free(p)

    def close(self):
        """The other end is gone."""
        self.fail("the other side closed the connection")

    def resume(self):
        """`sent` takes bytes again."""
        self.on_flush()

    cdef ssize_t transmit(self, const uint8_t* p, size_t n) noexcept:
        cdef object taken = self.sent(p[:n])
        return n if taken is None else <ssize_t>taken

    cdef void waiting_to_send(self, bint waiting) noexcept:
        if not waiting and self.open:
            self.cancel_timer()
