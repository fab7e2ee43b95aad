from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from towpath._native.channel cimport Channel, Opener, Upper
from towpath._native.core cimport tp_bytequeue, tp_idmap, tp_yamux_header
from towpath._native.reactor cimport Timed


ctypedef struct PingAllowance:
    int64_t spent                      # milliseconds' worth: a ping is worth 100
    uint64_t at_ms

cdef bint take_ping(PingAllowance* a, uint64_t now_ms) noexcept


cdef class Handler(Timed):
    # What a stream's bytes go to. It never outlives the call after on_fin + close_write, on_reset or reset.
    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept
    cdef void on_fin(self, Stream s) noexcept
    cdef void on_reset(self, Stream s) noexcept
    cdef void on_window(self, Stream s) noexcept
    cdef void on_selected(self, Stream s, bint selected) noexcept
    cdef void on_unanswered(self, Stream s) noexcept
    cdef void on_gone(self, Stream s) noexcept


cdef class Stream:
    cdef Session session
    cdef Handler handler
    cdef readonly uint32_t id
    cdef uint32_t send_window          # bytes the other side still takes
    cdef uint32_t recv_window          # bytes it may still send
    cdef uint16_t first_flags          # SYN or ACK, for the next frame
    cdef bint inbound
    cdef bint negotiated
    cdef bint fin_sent
    cdef bint fin_pending              # close_write was called, pending goes first
    cdef bint fin_received
    cdef bint gone                     # reset, or finished in both directions
    cdef bint waiting                  # for the channel to drain
    cdef tp_bytequeue pending          # accepted by send, not yet in a frame

    cdef int send(self, uint8_t* p, size_t n, bint headroom) noexcept
    cdef int _put(self, uint8_t* p, size_t n, bint headroom) noexcept
    cdef int _park(self, const uint8_t* p, size_t n) noexcept
    cdef bint pump(self, size_t most) noexcept
    cdef void close_write(self) noexcept
    cdef void reset(self) noexcept
    cdef void grant(self, uint32_t n) noexcept
    cdef void discard_pending(self) noexcept
    cdef void _finished(self) noexcept


cdef class SessionOwner(Opener):
    cdef void on_stream(self, Session session, Stream s) noexcept
    cdef void on_session_closed(self, Session session, str why) noexcept


cdef class Session(Upper):
    cdef readonly Channel channel
    cdef SessionOwner owner
    cdef tp_idmap streams
    cdef uint32_t next_id
    cdef uint32_t inbound_count
    cdef uint32_t unnegotiated
    cdef uint32_t highest_inbound
    cdef uint64_t seen                 # the 64 ids up to highest_inbound, as bits
    cdef uint8_t head[12]
    cdef int head_n
    cdef uint32_t body_left
    cdef bint body_ends                # its frame carries FIN
    cdef Stream body                   # None: its bytes are dropped
    cdef int circuits                  # spliced streams among them
    cdef readonly uint64_t sent_in_circuits  # bytes of our own, as given to streams that lead through this peer
    cdef dict reset_here               # id → bytes the other side may still send on a stream that we reset, or None
    cdef readonly int pins             # reasons to keep the connection though no stream is open
    cdef uint64_t idle_ms              # closed when unused for so long; 0: never
    cdef int strikes
    cdef uint64_t strikes_ms           # when one was last forgiven
    cdef PingAllowance pings
    cdef uint64_t ping_sent_ns
    cdef readonly double rtt_s         # of the last yamux ping, 0: none yet
    cdef object waiting                # deque of streams held back while the channel's queue is long
    cdef readonly bint closed
    cdef readonly bint going_away      # either side said so: no new streams
    cdef readonly double opened_at
    cdef readonly str agent
    cdef readonly object protocols     # from identify: frozenset of str, or None
    cdef readonly tuple listens        # from identify: multiaddrs of one that serves the DHT, () of others, or None
    cdef readonly bytes observed       # from identify: our address as the other side sees it

    cdef void begin(self, Channel channel, SessionOwner owner, uint64_t idle_ms) noexcept
    cdef void _frame(self, const uint8_t* h) noexcept
    cdef void _data_frame(self, tp_yamux_header* h) noexcept
    cdef void _window_frame(self, tp_yamux_header* h) noexcept
    cdef void _ping_frame(self, tp_yamux_header* h) noexcept
    cdef Stream _stream_of(self, tp_yamux_header* h)
    cdef bint _strike(self) noexcept
    cdef bint _was_open(self, uint32_t id) noexcept
    cdef void remember_reset(self, Stream s) noexcept
    cdef bint _may_be_late(self, tp_yamux_header* h) noexcept
    cdef Stream _accept(self, tp_yamux_header* h)
    cdef void _end_of(self, Stream s) noexcept
    cdef void _reset_by_peer(self, Stream s) noexcept
    cdef Stream open_stream(self, Handler handler)
    cdef void set_negotiated(self, Stream s) noexcept
    cdef void remove(self, Stream s) noexcept
    cdef void wait_for_channel(self, Stream s) noexcept
    cdef bint channel_full(self) noexcept
    cdef void pin(self, int by) noexcept
    cdef void check_idle(self) noexcept
    cdef void violate(self, str why) noexcept
