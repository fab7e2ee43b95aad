# cython: language_level=3
"""The session: yamux frames over a channel, and the streams they belong to.

A stream's bytes go to its handler as they arrive, however large the frame, and leave through `Stream.send`, which
queues only what the other side's window or a full channel holds back. Streams held back by a full channel go on in
turns. What a handler has consumed it grants anew (`Stream.grant`): credit is its decision.

Source: yamux specification, github.com/hashicorp/yamux/blob/master/spec.md. A peer that breaks it loses its connection.
"""
cimport cython
from collections import deque
import time

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject

from towpath._native.channel cimport QUEUE_HIGH, Channel, Opener, Upper
from towpath._native.core cimport (
    TP_YAMUX_ACK, TP_YAMUX_DATA, TP_YAMUX_FIN, TP_YAMUX_GO_AWAY, TP_YAMUX_HEADER, TP_YAMUX_PING, TP_YAMUX_RST,
    TP_YAMUX_SYN, TP_YAMUX_WINDOW, TP_YAMUX_WINDOW_UPDATE,
    tp_bytequeue_drop, tp_bytequeue_free, tp_bytequeue_head, tp_bytequeue_push, tp_bytequeue_size,
    tp_idmap_free, tp_idmap_get, tp_idmap_next, tp_idmap_put, tp_idmap_remove, tp_yamux_get, tp_yamux_header,
)
from towpath._native.reactor cimport Timed

cdef enum:
    STREAMS_MAX = 1024         # inbound, a connection
    UNNEGOTIATED_MAX = 64      # of them, without a protocol yet
    STRIKES_MAX = 256          # streams refused for these bounds before the connection is closed
    STRIKE_MS = 1000           # after so long one is forgiven
    ID_HISTORY = 64            # how far behind the highest id a new one may come: concurrent openers overtake others
    LARGEST_WINDOW = 16777216  # nobody grants more
    RESETS_REMEMBERED = 64
    TURN = 16384               # bytes a held-back stream sends before the next one's turn


cdef bint take_ping(PingAllowance* a, uint64_t now_ms) noexcept:
    """Takes one of the pings that the other side may still send: a burst of 50, then 10 a second."""
    a.spent = max(0, a.spent - <int64_t>(now_ms - a.at_ms)) + 100
    a.at_ms = now_ms
    return a.spent <= 5000


@cython.no_gc
cdef class Handler(Timed):
    """Base of whatever a stream leads to."""

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        """n received bytes; they and the 12 before them may be overwritten, and are gone when this returns."""
        pass

    cdef void on_fin(self, Stream s) noexcept:
        """The other side will send no more."""
        pass

    cdef void on_reset(self, Stream s) noexcept:
        """The stream is gone, cut off by the other side or with the connection."""
        pass

    cdef void on_window(self, Stream s) noexcept:
        """The stream took pending bytes, or may send more than before."""
        pass

    cdef void on_selected(self, Stream s, bint selected) noexcept:
        """Of a stream opened by us: the other side speaks the protocol, or does not (then the stream is gone)."""
        pass

    cdef void on_unanswered(self, Stream s) noexcept:
        """Of a stream opened by us: gone before the other side said whether it speaks the protocol. By default as if it
        did not."""
        self.on_selected(s, False)

    cdef void on_gone(self, Stream s) noexcept:
        """The stream has left its session, for whatever reason; the last call."""
        pass


# What a stream leads to once it is gone; also breaks the circle of stream and handler.
cdef Handler _ended = Handler()


@cython.no_gc
cdef class Stream:
    """One yamux stream. Owned by its session until gone."""

    def __dealloc__(self):
        tp_bytequeue_free(&self.pending)

    cdef int send(self, uint8_t* p, size_t n, bint headroom) noexcept:
        """Sends n bytes, queueing what cannot go now. 0, or -1 when the stream no longer takes any. headroom: the 12
        bytes before p may be overwritten."""
        cdef size_t k
        if self.gone or self.fin_sent or self.fin_pending:
            return -1
        while n and self.send_window and tp_bytequeue_size(&self.pending) == 0 and not self.session.channel_full():
            k = min(min(n, <size_t>self.send_window), <size_t>QUEUE_HIGH)
            if self._put(p, k, headroom) != 0:
                return -1
            p += k
            n -= k
        if self.gone:
            return -1              # looking whether the channel is full flushed it, and it turned out to be dead
        return self._park(p, n) if n else 0

    cdef int _put(self, uint8_t* p, size_t n, bint headroom) noexcept:
        cdef uint16_t flags = self.first_flags
        self.first_flags = 0
        self.send_window -= <uint32_t>n
        return self.session.channel.put_data(self.id, flags, p, n, headroom)

    cdef int _park(self, const uint8_t* p, size_t n) noexcept:
        cdef size_t before = self.pending.capacity
        if tp_bytequeue_push(&self.pending, p, n) != 0:
            return -1
        if self.send_window:
            self.session.wait_for_channel(self)
        self.session.channel.reactor.hold(self.pending.capacity - before)
        return -1 if self.gone else 0

    cdef bint pump(self, size_t most) noexcept:
        """Sends up to `most` pending bytes now that the channel has drained, and tells the handler. True when it is
        still held back by the channel alone."""
        cdef size_t before, k
        cdef Handler handler = self.handler
        if self.gone:
            return False
        k = min(min(tp_bytequeue_size(&self.pending), <size_t>self.send_window), most)
        if k:
            before = self.pending.capacity
            if self._put(tp_bytequeue_head(&self.pending), k, True) != 0:
                return False
            tp_bytequeue_drop(&self.pending, k)
            self.session.channel.reactor.unhold(before - self.pending.capacity)
        if tp_bytequeue_size(&self.pending) == 0 and self.fin_pending:
            self.fin_pending = False
            self.close_write()
        if not self.gone:
            handler.on_window(self)
        return not self.gone and self.send_window != 0 and tp_bytequeue_size(&self.pending) != 0

    cdef void close_write(self) noexcept:
        """Half-closes: FIN follows what is pending."""
        if self.gone or self.fin_sent or self.fin_pending:
            return
        if tp_bytequeue_size(&self.pending):
            self.fin_pending = True
            return
        self.fin_sent = True
        self.session.channel.put_data(self.id, self.first_flags | TP_YAMUX_FIN, NULL, 0, False)
        self.first_flags = 0
        self._finished()

    cdef void reset(self) noexcept:
        """Ends both directions at once; the handler hears nothing more."""
        if self.gone:
            return
        if not self.fin_received:
            self.session.remember_reset(self)
        if not (self.first_flags & TP_YAMUX_SYN):
            self.session.channel.put_control(TP_YAMUX_WINDOW_UPDATE, TP_YAMUX_RST, self.id, 0)
        self.session.remove(self)

    cdef void grant(self, uint32_t n) noexcept:
        """Lets the other side send n bytes more."""
        if self.gone or self.fin_received or n == 0:
            return
        self.recv_window += n
        self.session.channel.put_control(TP_YAMUX_WINDOW_UPDATE, self.first_flags, self.id, n)
        self.first_flags = 0

    cdef void discard_pending(self) noexcept:
        cdef size_t before = self.pending.capacity
        if before:
            tp_bytequeue_free(&self.pending)
            self.session.channel.reactor.unhold(before)

    cdef void _finished(self) noexcept:
        if self.fin_sent and self.fin_received and not self.gone:
            self.session.remove(self)


cdef class SessionOwner(Opener):
    """Whoever sessions belong to: decides what new streams lead to."""

    cdef void on_stream(self, Session session, Stream s) noexcept:
        """A new inbound stream; s.handler must be set before this returns."""
        pass

    cdef void on_session_closed(self, Session session, str why) noexcept:
        pass


@cython.no_gc
cdef class Session(Upper):
    """One yamux session. `pins` and open streams keep it; otherwise it closes after idle_ms."""

    def __init__(self):
        raise TypeError("sessions come from an Endpoint: dial, wrap, on_session")

    def __dealloc__(self):
        tp_idmap_free(&self.streams)

    cdef void begin(self, Channel channel, SessionOwner owner, uint64_t idle_ms) noexcept:
        self.channel = channel
        channel.upper = self
        self.owner = owner
        self.idle_ms = idle_ms
        self.next_id = 1 if channel.initiator else 2
        self.opened_at = time.time()
        self.check_idle()

    # --- receiving ---------------------------------------------------------------------------

    cdef void on_plain(self, uint8_t* p, size_t n) noexcept:
        cdef size_t k
        cdef Stream s
        cdef Handler handler       # kept alive here: a handler may replace itself
        while n:
            if self.body_left:
                k = min(n, <size_t>self.body_left)
                self.body_left -= <uint32_t>k
                s = self.body
                if s is not None and not s.gone:
                    handler = s.handler
                    handler.on_data(s, p, k)
                    if self.closed:
                        return
                    if self.body_left == 0:
                        self.body = None
                        if self.body_ends:
                            self._end_of(s)
                            if self.closed:
                                return
                p += k
                n -= k
                continue
            if self.head_n == 0 and n >= TP_YAMUX_HEADER:
                self._frame(p)
                p += TP_YAMUX_HEADER
                n -= TP_YAMUX_HEADER
            else:
                k = min(n, <size_t>(TP_YAMUX_HEADER - self.head_n))
                memcpy(self.head + self.head_n, p, k)
                self.head_n += <int>k
                p += k
                n -= k
                if self.head_n == TP_YAMUX_HEADER:
                    self.head_n = 0
                    self._frame(self.head)
            if self.closed:
                return

    cdef void _frame(self, const uint8_t* at) noexcept:
        cdef tp_yamux_header h
        tp_yamux_get(at, &h)
        if h.version != 0:
            self.violate("yamux version is not 0")
        elif h.type == TP_YAMUX_DATA:
            self._data_frame(&h)
        elif h.type == TP_YAMUX_WINDOW_UPDATE:
            self._window_frame(&h)
        elif h.type == TP_YAMUX_PING:
            self._ping_frame(&h)
        elif h.type == TP_YAMUX_GO_AWAY:
            self.going_away = True
            if self.streams.count == 0 and self.pins == 0:
                self.channel.finish()
        else:
            self.violate("yamux frame of unknown type")

    cdef void _data_frame(self, tp_yamux_header* h) noexcept:
        cdef Stream s = self._stream_of(h)
        if self.closed:
            return
        if s is not None:
            if h.length > s.recv_window or (s.fin_received and h.length):
                self.violate("a stream's window is overrun")
                return
            s.recv_window -= h.length
            if h.flags & TP_YAMUX_RST:
                self._reset_by_peer(s)
                s = None
        elif not self._may_be_late(h):
            self.violate("a closed stream's window is overrun")
            return
        self.body_left = h.length
        self.body = s if h.length else None
        self.body_ends = h.flags & TP_YAMUX_FIN != 0
        if h.length == 0 and self.body_ends and s is not None:
            self._end_of(s)

    cdef void _window_frame(self, tp_yamux_header* h) noexcept:
        cdef Stream s = self._stream_of(h)
        cdef Handler handler
        if self.closed or s is None:
            return
        if h.flags & TP_YAMUX_RST:
            self._reset_by_peer(s)
            return
        if h.length:
            if h.length > 0xFFFFFFFFu - s.send_window:
                self.violate("a stream's window is larger than yamux can say")
                return
            s.send_window += h.length
            if tp_bytequeue_size(&s.pending):
                self.wait_for_channel(s)
                if not self.channel_full() and not self.channel.above_high:
                    self.on_drained()
            if not s.gone:
                handler = s.handler
                handler.on_window(s)
        if h.flags & TP_YAMUX_FIN and not s.gone:
            self._end_of(s)

    cdef void _ping_frame(self, tp_yamux_header* h) noexcept:
        if h.flags & TP_YAMUX_SYN:
            if not take_ping(&self.pings, self.channel.reactor.now_ms):
                self.violate("more pings than 10 a second")
                return
            self.channel.put_control(TP_YAMUX_PING, TP_YAMUX_ACK, 0, h.length)
        elif self.ping_sent_ns:
            self.rtt_s = (self.channel.reactor.clock_ns() - self.ping_sent_ns) * 1e-9
            self.ping_sent_ns = 0

    cdef Stream _stream_of(self, tp_yamux_header* h):
        # The stream that a frame belongs to, a new one if the frame opens it. None: it is no more, was refused, or the
        # frame was an offence, and then the session is closed.
        cdef void* found = tp_idmap_get(&self.streams, h.stream)
        if found != NULL and not h.flags & TP_YAMUX_SYN:
            return <Stream><PyObject*>found
        if h.flags & TP_YAMUX_SYN:
            if found == NULL:
                return self._accept(h)
            self.violate("a stream id is used twice")
        elif not self._was_open(h.stream):
            self.violate("a frame for a stream that never was")
        return None

    cdef bint _was_open(self, uint32_t id) noexcept:
        # Frames may still arrive for a stream that we have reset; for one that never was they are an offence.
        if id == 0:
            return False
        if (id & 1) == (self.next_id & 1):
            return id < self.next_id
        return id <= self.highest_inbound

    cdef void remember_reset(self, Stream s) noexcept:
        """What was granted may still be under way, and no more."""
        if self.reset_here is None:
            self.reset_here = {}
        elif len(self.reset_here) >= RESETS_REMEMBERED:
            del self.reset_here[next(iter(self.reset_here))]
        self.reset_here[s.id] = s.recv_window

    cdef bint _may_be_late(self, tp_yamux_header* h) noexcept:
        # Data for a stream that is no more: at most what it had been granted.
        cdef uint32_t left
        if h.length > LARGEST_WINDOW:
            return False
        if self.reset_here is None or h.stream not in self.reset_here:
            return True
        left = self.reset_here[h.stream]
        if h.length > left:
            return False
        if h.flags & (TP_YAMUX_FIN | TP_YAMUX_RST):
            del self.reset_here[h.stream]
        else:
            self.reset_here[h.stream] = left - h.length
        return True

    cdef Stream _accept(self, tp_yamux_header* h):
        # A new inbound stream, or None when it was refused (or the connection closed for it).
        cdef Stream s
        cdef uint32_t behind
        if h.stream == 0 or (h.stream & 1) == (self.next_id & 1):
            self.violate("a stream id of the wrong parity")
            return None
        if h.stream > self.highest_inbound:
            behind = (h.stream - self.highest_inbound) >> 1
            self.seen = (self.seen << behind if behind < ID_HISTORY else 0) | 1
            self.highest_inbound = h.stream
        else:
            behind = (self.highest_inbound - h.stream) >> 1
            if behind >= ID_HISTORY or self.seen >> behind & 1:
                self.violate("a stream id is used twice")
                return None
            self.seen |= <uint64_t>1 << behind
        if self.inbound_count >= STREAMS_MAX or self.unnegotiated >= UNNEGOTIATED_MAX:
            if not self._strike():
                self.violate("too many streams at once")
                return None
            self.channel.put_control(TP_YAMUX_WINDOW_UPDATE, TP_YAMUX_RST, h.stream, 0)
            return None
        s = Stream.__new__(Stream)
        s.session = self
        s.id = h.stream
        s.send_window = s.recv_window = TP_YAMUX_WINDOW
        s.first_flags = TP_YAMUX_ACK
        s.inbound = True
        if tp_idmap_put(&self.streams, s.id, <void*><PyObject*>s) != 0:
            self.violate("no memory")
            return None
        Py_INCREF(s)
        self.inbound_count += 1
        self.unnegotiated += 1
        self.cancel_timer()
        self.owner.on_stream(self, s)
        return s

    cdef bint _strike(self) noexcept:
        # One stream too many; False when patience is at its end.
        cdef uint64_t now = self.channel.reactor.now_ms
        cdef uint64_t forgiven = (now - self.strikes_ms) // STRIKE_MS
        if forgiven >= <uint64_t>self.strikes:
            self.strikes = 0
            self.strikes_ms = now
        else:
            self.strikes -= <int>forgiven
            self.strikes_ms += forgiven * STRIKE_MS
        self.strikes += 1
        return self.strikes <= STRIKES_MAX

    cdef void _end_of(self, Stream s) noexcept:
        cdef Handler handler = s.handler
        if s.gone or s.fin_received:
            return
        s.fin_received = True
        handler.on_fin(s)
        s._finished()

    cdef void _reset_by_peer(self, Stream s) noexcept:
        cdef Handler handler = s.handler
        self.remove(s)
        handler.on_reset(s)

    # --- streams -----------------------------------------------------------------------------

    cdef Stream open_stream(self, Handler handler):
        """A new outbound stream; its SYN goes with the first bytes. None when the session is closed or memory is
        short."""
        cdef Stream s
        if self.closed or self.going_away or self.next_id > 0xFFFFFFF0u:
            return None
        s = Stream.__new__(Stream)
        s.session = self
        s.handler = handler
        s.id = self.next_id
        s.send_window = s.recv_window = TP_YAMUX_WINDOW
        s.first_flags = TP_YAMUX_SYN
        s.negotiated = True
        if tp_idmap_put(&self.streams, s.id, <void*><PyObject*>s) != 0:
            return None
        Py_INCREF(s)
        self.next_id += 2
        self.cancel_timer()
        return s

    cdef void set_negotiated(self, Stream s) noexcept:
        if not s.negotiated:
            s.negotiated = True
            self.unnegotiated -= 1

    cdef void remove(self, Stream s) noexcept:
        cdef Handler handler = s.handler
        cdef bint known
        if s.gone:
            return
        s.gone = True
        s.discard_pending()
        handler.cancel_timer()
        s.handler = _ended
        if s.inbound:
            self.inbound_count -= 1
            self.set_negotiated(s)
        known = tp_idmap_remove(&self.streams, s.id) != NULL
        handler.on_gone(s)
        self.check_idle()
        if known:
            Py_DECREF(s)           # last: who called may have no reference but the one that on_gone let go

    cdef void wait_for_channel(self, Stream s) noexcept:
        if not s.waiting:
            s.waiting = True
            if self.waiting is None:
                self.waiting = deque()
            elif len(self.waiting) > 2 * self.streams.count + 64:
                # Most of them are gone: whoever opens and resets streams, reading nothing, could pile them up.
                self.waiting = deque([one for one in self.waiting if not (<Stream>one).gone])
            self.waiting.append(s)

    cdef bint channel_full(self) noexcept:
        cdef Channel c = self.channel
        if c.queued <= QUEUE_HIGH:
            return False
        if not c.above_high:
            c.on_flush()
        return c.queued > QUEUE_HIGH or self.closed

    cdef void on_drained(self) noexcept:
        # Streams take turns, so that none that is held back by a full channel starves beside a greedy one.
        cdef Stream s
        while self.waiting and not self.channel_full():
            s = self.waiting.popleft()
            s.waiting = False
            if s.pump(TURN):
                self.wait_for_channel(s)

    # --- life --------------------------------------------------------------------------------

    cdef void pin(self, int by) noexcept:
        """Adds to (or takes from) the reasons to keep the connection while no stream is open."""
        self.pins += by
        if by > 0:
            self.cancel_timer()
        else:
            self.check_idle()

    cdef void check_idle(self) noexcept:
        if self.closed or self.streams.count or self.pins:
            return
        if self.going_away:
            self.channel.finish()
        elif self.idle_ms:
            self.channel.reactor.arm(self, self.idle_ms)

    cdef void on_timer(self) noexcept:
        if self.streams.count == 0 and self.pins == 0:
            self.close()

    cdef void violate(self, str why) noexcept:
        """The peer broke the protocol: the connection ends."""
        if not self.closed:
            self.channel.put_control(TP_YAMUX_GO_AWAY, 0, 0, 1)
            self.channel.on_flush()
            self.channel.fail(why)

    cdef void on_channel_closed(self, str why) noexcept:
        cdef Stream s
        cdef void* p
        cdef uint32_t cursor
        cdef list all_streams = []
        cdef SessionOwner owner = self.owner
        if self.closed:
            return
        self.closed = True
        self.cancel_timer()
        cursor = 0
        while True:
            p = tp_idmap_next(&self.streams, &cursor)
            if p == NULL:
                break
            all_streams.append(<Stream><PyObject*>p)
        for s in all_streams:
            self._reset_by_peer(s)
        self.body = None
        self.waiting = None
        # Whoever keeps a closed session keeps nothing else alive.
        self.owner = None
        owner.on_session_closed(self, why)

    def close(self):
        """Says goodbye (GO_AWAY) and closes once everything queued is sent; open streams are reset."""
        cdef Channel c = self.channel
        if self.closed:
            return
        self.going_away = True
        c.put_control(TP_YAMUX_GO_AWAY, 0, 0, 0)
        c.finish()

    def abort(self):
        """Closes at once."""
        self.channel.fail("closed")

    def ping(self):
        """Sends a yamux ping; `rtt_s` holds the time until its answer."""
        if not self.closed:
            self.ping_sent_ns = self.channel.reactor.clock_ns()
            self.channel.put_control(TP_YAMUX_PING, TP_YAMUX_SYN, 0, <uint32_t>(self.ping_sent_ns & 0xFFFFFFFF))

    @property
    def ping_pending(self):
        """Has the last ping not been answered yet?"""
        return self.ping_sent_ns != 0

    @property
    def unheard_ms(self):
        """How long ago the other end's kernel acknowledged anything, while something waits for that; else 0. 0, too,
        over a circuit."""
        return 0 if self.closed else self.channel.unheard_ms()

    @property
    def peer_id(self):
        return self.channel.peer_id

    @property
    def remote(self):
        """Multiaddr (bytes) of the other end; empty for a session over a circuit."""
        return self.channel.remote or b""

    @property
    def via(self):
        """Peer id of the relay that carries this session, or b""."""
        return self.channel.via or b""

    @property
    def stream_count(self):
        return self.streams.count
