# cython: language_level=3
"""The reactor: which socket is ready, what time it is, and the memory that all connections share.

All sockets stand in one epoll set, and that set's own descriptor is what uvloop watches through
`loop.add_reader`. So a ready event costs one Python call for a whole batch of sockets and a
connection costs no uvloop handle. Everything runs on the loop's thread with the GIL held.

Shared here, owned by nobody for longer than a slice: the receive buffer, and a pool of chunks
for outgoing bytes. A connection owns a chunk only while it has bytes that the kernel would not take.
"""
cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject

from towpath._native.core cimport (
    TP_AEAD_AUTO, TP_AEAD_OPENSSL, TP_AEAD_SODIUM, TP_NOISE_MAX, TP_WHEEL_TICK_MS,
    tp_aead_free, tp_aead_new, tp_aead_which,
    tp_histogram_add, tp_histogram_clear, tp_histogram_quantile,
    tp_wheel_arm, tp_wheel_disarm, tp_wheel_init, tp_wheel_pop,
)
from towpath._native.system cimport (
    CLOCK_MONOTONIC, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD,
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, clock_gettime, close, epoll_create1, epoll_ctl, epoll_wait, timespec,
)

cdef enum:
    SLICE_NS = 100000          # no new event is begun after this much of a slice
    POOL_MAX = 8               # chunks kept for reuse
    TRIM_ABOVE = 33554432      # once queues held more than this, freed memory goes back to the system
    TRIM_BELOW = 4194304       # as soon as they hold less than this
    SMALL = 16384              # less than this is moved out of a chunk rather than keeping it

cdef extern from "<malloc.h>" nogil:
    int malloc_trim(size_t pad)

DEFAULT_BUDGET = 256 * 1024 * 1024


@cython.no_gc
cdef class Timed:
    """Something with at most one deadline at a time (Reactor.arm, cancel_timer)."""

    def __dealloc__(self):
        if self.timer.next != NULL:
            tp_wheel_disarm(self.wheel, &self.timer)

    cdef void on_timer(self) noexcept:
        pass

    cdef inline void cancel_timer(self) noexcept:
        if self.timer.next != NULL:
            tp_wheel_disarm(self.wheel, &self.timer)


@cython.no_gc
cdef class Pollable(Timed):
    """Something that the reactor wakes: a socket, or a channel that only needs flushing."""

    def __cinit__(self):
        self.fd = -1

    cdef void on_readable(self) noexcept:
        pass

    cdef void on_writable(self) noexcept:
        pass

    cdef void on_flush(self) noexcept:
        pass


# Where the timer stands in a Timed, so that a due timer leads back to its object.
cdef Timed _probe = Timed()
cdef size_t TIMER_OFFSET = <size_t>(<char*>&_probe.timer - <char*><PyObject*>_probe)


cdef class Reactor:
    """One data plane on one event loop. `aead`: "auto" (calibrated, takes a few ms), "libsodium" or "openssl"."""

    def __cinit__(self):
        self.epfd = -1

    def __init__(self, loop, str aead="auto", uint64_t budget=DEFAULT_BUDGET):
        kinds = {"auto": TP_AEAD_AUTO, "libsodium": TP_AEAD_SODIUM, "openssl": TP_AEAD_OPENSSL}
        if aead not in kinds:
            raise ValueError(f"aead is {aead!r}; allowed are auto, libsodium, openssl")
        self.loop = loop
        self.budget = budget
        self.graveyard = []
        self.stalled = {}
        self.aead = tp_aead_new(kinds[aead])
        self.rx = <uint8_t*>malloc(HEADROOM + TP_NOISE_MAX + 2 + READ_MAX)
        self.dirty_room = 64
        self.dirty = <PyObject**>malloc(self.dirty_room * sizeof(PyObject*))
        if self.aead == NULL or self.rx == NULL or self.dirty == NULL:
            raise MemoryError("no memory for the data plane, or its cipher is missing")
        self.now_ns = self.clock_ns()
        self.now_ms = self.now_ns // 1000000
        tp_wheel_init(&self.wheel, self.now_ms)
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError("epoll_create1 failed: too many open files? Raise RLIMIT_NOFILE")
        loop.add_reader(self.epfd, self._ready)

    def __dealloc__(self):
        cdef Chunk* c
        while tp_wheel_pop(&self.wheel, 0xFFFFFFFFFFFFFFFFu) != NULL:
            pass                   # whoever outlives it must not look for its timer here
        while self.pool != NULL:
            c = self.pool
            self.pool = c.next
            free(c)
        free(self.dirty)
        free(self.rx)
        if self.aead != NULL:
            tp_aead_free(self.aead)
        if self.epfd >= 0:
            close(self.epfd)

    def close(self):
        """Stops watching and closes the epoll set. Every endpoint must be closed before."""
        if self.closed:
            return
        if not self.in_slice:
            self.flush_dirty()     # a slice under way does it itself
        self.closed = True
        self.loop.remove_reader(self.epfd)
        close(self.epfd)
        self.epfd = -1
        if self.tick_handle is not None:
            self.tick_handle.cancel()
            self.tick_handle = None
        self.graveyard.clear()
        self.stalled.clear()

    @property
    def aead_name(self):
        return "openssl" if tp_aead_which(self.aead) == TP_AEAD_OPENSSL else "libsodium"

    def stats(self):
        """Counters of the whole process: bytes read and sent on sockets, memory held by queues (bytes), slices (ns)."""
        return {
            "aead": self.aead_name,
            "bytes_read": self.bytes_read,
            "bytes_sent": self.bytes_sent,
            "held": self.held,
            "budget": self.budget,
            "budget_resets": self.budget_resets,
            "timers": self.wheel.armed,
            "slice_ns": {
                "count": self.slices.count,
                "mean": self.slices.sum // self.slices.count if self.slices.count else 0,
                "p50": tp_histogram_quantile(&self.slices, 0.5),
                "p99": tp_histogram_quantile(&self.slices, 0.99),
                "p999": tp_histogram_quantile(&self.slices, 0.999),
                "max": self.slices.max,
            },
        }

    def clear_slices(self):
        """Begins the histogram of slices anew."""
        tp_histogram_clear(&self.slices)

    cdef uint64_t clock_ns(self) noexcept nogil:
        cdef timespec t
        clock_gettime(CLOCK_MONOTONIC, &t)
        return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec

    # --- readiness ---------------------------------------------------------------------------

    cdef int register(self, Pollable p, uint32_t interest) except -1:
        cdef epoll_event e
        e.events = interest
        e.data.ptr = <void*><PyObject*>p
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, p.fd, &e) != 0:
            raise OSError("epoll_ctl failed: no memory or too many watches")
        p.interest = interest
        Py_INCREF(p)
        return 0

    cdef void unregister(self, Pollable p) noexcept:
        # Events of p may still stand in the fetched batch: the reference lives until that is through.
        epoll_ctl(self.epfd, EPOLL_CTL_DEL, p.fd, NULL)
        p.interest = 0
        self.graveyard.append(p)
        Py_DECREF(p)
        if not self.in_slice and self.event_next == self.event_count:
            self.wake()

    cdef void want(self, Pollable p, uint32_t interest) noexcept:
        cdef epoll_event e
        if p.fd < 0 or p.interest == interest:
            return
        e.events = interest
        e.data.ptr = <void*><PyObject*>p
        epoll_ctl(self.epfd, EPOLL_CTL_MOD, p.fd, &e)
        p.interest = interest

    def _ready(self):
        self.run_slice()

    cdef void run_slice(self) noexcept:
        cdef uint64_t begun = self.clock_ns()
        cdef uint64_t now
        cdef epoll_event* e
        cdef Pollable p
        cdef list dead
        self.now_ns = begun
        self.now_ms = begun // 1000000
        self.in_slice = True
        if self.event_next == self.event_count:
            self.event_count = epoll_wait(self.epfd, self.events, BATCH, 0)
            self.event_next = 0
            if self.event_count < 0:
                self.event_count = 0
        while self.event_next < self.event_count:
            e = &self.events[self.event_next]
            self.event_next += 1
            p = <Pollable><PyObject*>e.data.ptr
            if p.interest == 0:
                continue
            if e.events & EPOLLOUT:
                p.on_writable()
            if p.interest and e.events & (EPOLLIN | EPOLLERR | EPOLLHUP):
                p.on_readable()
            if self.event_next < self.event_count and self.clock_ns() - begun > SLICE_NS:
                break
        self.flush_dirty()
        self.in_slice = False
        if self.event_next == self.event_count and self.graveyard:
            dead = self.graveyard
            self.graveyard = []
            dead.clear()
        now = self.clock_ns()
        tp_histogram_add(&self.slices, now - begun)

    cdef void begin_slice(self) noexcept:
        """For work of this reactor that a timer begins; end_slice sends what came of it."""
        self.now_ns = self.clock_ns()
        self.now_ms = self.now_ns // 1000000
        self.in_slice = True

    cdef void end_slice(self) noexcept:
        self.flush_dirty()
        self.in_slice = False
        if self.event_next == self.event_count:
            self.graveyard = []

    cdef void mark_dirty(self, Pollable p) noexcept:
        cdef PyObject** more
        if p.dirty:
            return
        if self.dirty_count == self.dirty_room:
            more = <PyObject**>realloc(self.dirty, 2 * self.dirty_room * sizeof(PyObject*))
            if more == NULL:
                p.on_flush()
                return
            self.dirty = more
            self.dirty_room *= 2
        p.dirty = True
        Py_INCREF(p)
        self.dirty[self.dirty_count] = <PyObject*>p
        self.dirty_count += 1
        if not self.in_slice:
            self.wake()

    cdef void wake(self) noexcept:
        if not self.flush_scheduled and not self.closed:
            self.flush_scheduled = True
            self.loop.call_soon(self._flush)

    def _flush(self):
        self.flush_scheduled = False
        self.begin_slice()
        self.end_slice()

    cdef void flush_dirty(self) noexcept:
        # Flushing an inner channel makes its outer one dirty: the list may grow meanwhile.
        cdef int i = 0
        cdef Pollable p
        while i < self.dirty_count:
            p = <Pollable>self.dirty[i]
            i += 1
            p.dirty = False
            p.on_flush()
            Py_DECREF(p)
        self.dirty_count = 0

    # --- time --------------------------------------------------------------------------------

    cdef void arm(self, Timed t, uint64_t in_ms) noexcept:
        """Calls t.on_timer in `in_ms` milliseconds, and not earlier; replaces an earlier deadline."""
        if self.closed:
            return
        t.wheel = &self.wheel
        tp_wheel_arm(&self.wheel, &t.timer, self.clock_ns() // 1000000 + in_ms)
        self.start_ticking()

    cdef void start_ticking(self) noexcept:
        if not self.ticking and not self.closed:
            self.ticking = True
            self.tick_handle = self.loop.call_later(TP_WHEEL_TICK_MS / 1000.0, self._tick)

    def _tick(self):
        cdef tp_timer* due
        cdef Timed t
        self.begin_slice()
        while True:
            due = tp_wheel_pop(&self.wheel, self.now_ms)
            if due == NULL:
                break
            t = <Timed><PyObject*>(<char*>due - TIMER_OFFSET)
            t.on_timer()
        self.end_slice()
        if self.peak > TRIM_ABOVE and self.held < TRIM_BELOW:
            # What a storm of stalled circuits held would otherwise stay with the process.
            self.peak = self.held
            malloc_trim(0)
        if (self.wheel.armed or self.peak > TRIM_ABOVE) and not self.closed:
            self.tick_handle = self.loop.call_later(TP_WHEEL_TICK_MS / 1000.0, self._tick)
        else:
            self.ticking = False
            self.tick_handle = None

    # --- memory ------------------------------------------------------------------------------

    cdef Chunk* take_chunk(self) noexcept:
        """An empty chunk of CHUNK_ROOM, NULL when memory is short. Counted as held until given back."""
        cdef Chunk* c = self.pool
        if c != NULL:
            self.pool = c.next
            self.pooled -= 1
        else:
            c = <Chunk*>malloc(sizeof(Chunk) + CHUNK_ROOM)
            if c == NULL:
                return NULL
            c.room = CHUNK_ROOM
        c.next = NULL
        c.start = c.end = 0
        self.held += c.room
        return c

    cdef Chunk* shrink_chunk(self, Chunk* c) noexcept:
        """What to keep of a chunk that must wait for its socket: itself, or a copy of just its few unsent bytes."""
        cdef Chunk* small
        cdef size_t n = c.end - c.start
        if n > SMALL or c.room < CHUNK_ROOM:
            return c
        small = <Chunk*>malloc(sizeof(Chunk) + n)
        if small == NULL:
            return c
        small.next = c.next
        small.start = 0
        small.end = n
        small.room = n
        memcpy(small.data, c.data + c.start, n)
        self.held += n
        self.give_chunk(c)
        return small

    cdef void give_chunk(self, Chunk* c) noexcept:
        self.held -= c.room
        if c.room == CHUNK_ROOM and self.pooled < POOL_MAX:
            c.next = self.pool
            self.pool = c
            self.pooled += 1
        else:
            free(c)

    cdef void hold(self, size_t n) noexcept:
        """Counts n bytes that a queue now owns. Over budget, whoever has been stalled longest is told to give up: a
        circuit or a connect with parked bytes, a connection whose transport takes nothing."""
        cdef Timed victim
        self.held += n
        if self.held > self.peak:
            self.peak = self.held
            if self.peak > TRIM_ABOVE:
                self.start_ticking()
        while self.held > self.budget and self.stalled:
            victim = next(iter(self.stalled))
            del self.stalled[victim]
            self.budget_resets += 1
            give_up(victim)

    cdef void unhold(self, size_t n) noexcept:
        self.held -= n

    cdef void set_stalled(self, Timed t, bint on) noexcept:
        """Enters t at the end of the stalled, unless it is there already, or takes it off."""
        if on:
            if t not in self.stalled:
                self.stalled[t] = None
        else:
            self.stalled.pop(t, None)


cdef void give_up(Timed victim) noexcept:
    # A stalled owner's deadline has come early: its on_timer ends it.
    victim.cancel_timer()
    victim.on_timer()
