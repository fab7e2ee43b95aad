from libc.stdint cimport uint8_t, uint32_t, uint64_t
from cpython.ref cimport PyObject

from towpath._native.core cimport tp_aead, tp_histogram, tp_timer, tp_wheel
from towpath._native.system cimport epoll_event

cdef enum:
    HEADROOM = 64              # bytes before every received plaintext that its consumer may overwrite
    READ_MAX = 131074          # two Noise messages of the largest size: what one readable event may bring
    CHUNK_ROOM = 133120        # sealed bytes a chunk holds: one such read, re-framed
    BATCH = 128                # events fetched from the kernel at a time

ctypedef struct Chunk:
    Chunk* next
    size_t start               # [start, end) is sealed and unsent
    size_t end
    size_t room                # of data
    uint8_t reserve[16]        # headroom for whoever seals data once more (inner.pyx)
    uint8_t data[1]


cdef class Timed:
    # First field of every object with a deadline; the timer leads back to the object.
    cdef tp_timer timer
    cdef tp_wheel* wheel
    cdef void on_timer(self) noexcept
    cdef inline void cancel_timer(self) noexcept


cdef class Pollable(Timed):
    cdef Reactor reactor
    cdef int fd
    cdef uint32_t interest
    cdef bint dirty
    cdef uint8_t held                  # what a meter keeps it from for now (meter.pxd)
    cdef void on_readable(self) noexcept
    cdef void on_writable(self) noexcept
    cdef void on_flush(self) noexcept


cdef class Reactor:
    cdef readonly object loop
    cdef int epfd
    cdef epoll_event events[BATCH]
    cdef int event_next
    cdef int event_count
    cdef list graveyard
    cdef PyObject** dirty
    cdef int dirty_count
    cdef int dirty_room
    cdef bint in_slice
    cdef bint flush_scheduled
    cdef bint ticking
    cdef readonly bint closed
    cdef object tick_handle
    cdef Chunk* pool
    cdef int pooled

    cdef tp_aead* aead
    cdef tp_wheel wheel
    cdef tp_histogram slices
    cdef uint8_t* rx           # HEADROOM, then room for one partial message and one read
    cdef uint64_t now_ms       # of the slice
    cdef uint64_t now_ns
    cdef public uint64_t held          # bytes of process memory that queues hold now
    cdef uint64_t peak                 # the most that they held since memory was last given back
    cdef public uint64_t budget        # and may hold
    cdef dict stalled                  # Timed objects that hold bytes and cannot go on, longest-stalled first
    cdef public uint64_t bytes_read, bytes_sent, budget_resets

    cdef int register(self, Pollable p, uint32_t interest) except -1
    cdef void unregister(self, Pollable p) noexcept
    cdef void want(self, Pollable p, uint32_t interest) noexcept
    cdef void mark_dirty(self, Pollable p) noexcept
    cdef void flush_dirty(self) noexcept
    cdef void arm(self, Timed t, uint64_t in_ms) noexcept
    cdef Chunk* take_chunk(self) noexcept
    cdef Chunk* shrink_chunk(self, Chunk* c) noexcept
    cdef void give_chunk(self, Chunk* c) noexcept
    cdef void hold(self, size_t n) noexcept
    cdef void unhold(self, size_t n) noexcept
    cdef void set_stalled(self, Timed t, bint on) noexcept
    cdef uint64_t clock_ns(self) noexcept nogil
    cdef void run_slice(self) noexcept
    cdef void begin_slice(self) noexcept
    cdef void end_slice(self) noexcept
    cdef void wake(self) noexcept
    cdef void start_ticking(self) noexcept
