# cython: language_level=3
"""Streams that Python code reads and writes. The asyncio interface over this is towpath/stream.py.

Received bytes wait in `inbox`, at most a window of them (window.pyx); reading grants them anew.
"""
cimport cython
from libc.stdint cimport uint8_t
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from towpath._native.core cimport (
    tp_bytequeue_drop, tp_bytequeue_free, tp_bytequeue_head, tp_bytequeue_push, tp_bytequeue_size,
)
from towpath._native.negotiate cimport Protocol, propose
from towpath._native.session cimport Session, Stream
from towpath._native.window cimport Reader

cdef enum:
    PENDING_HIGH = 262144      # bytes a writer may queue before it has to wait
    CLOSE_MS = 5000            # for the other side to end its direction once we closed


@cython.no_gc
cdef class AppStream(Reader):
    """One stream in Python's hands."""

    def __dealloc__(self):
        tp_bytequeue_free(&self.inbox)

    cdef void on_data(self, Stream s, uint8_t* p, size_t n) noexcept:
        if self.discarding:
            return
        if tp_bytequeue_push(&self.inbox, p, n) != 0:
            s.reset()
            self.on_reset(s)
            return
        self._wake_reader()

    cdef void on_fin(self, Stream s) noexcept:
        self.ended = True
        self._wake_reader()

    cdef void on_reset(self, Stream s) noexcept:
        self.was_reset = True
        self._wake_reader()
        self._wake_writer()

    cdef void on_window(self, Stream s) noexcept:
        if tp_bytequeue_size(&s.pending) <= PENDING_HIGH:
            self._wake_writer()

    cdef void on_selected(self, Stream s, bint selected) noexcept:
        cdef object opener = self.opener
        self.opener = None
        if not selected:
            self.was_reset = True
            self.cancel_timer()
        if opener is not None and not opener.done():
            opener.set_result(selected)

    cdef void on_unanswered(self, Stream s) noexcept:
        cdef object opener = self.opener
        self.opener = None
        self.was_reset = True
        self.cancel_timer()
        if opener is not None and not opener.done():
            opener.set_result(None)

    cdef void on_timer(self) noexcept:
        if tp_bytequeue_size(&self.stream.pending):
            # What was written is still on its way, and its reader alive or the connection would have ended.
            self.session_.channel.reactor.arm(self, CLOSE_MS)
        else:
            self.stream.reset()

    cdef void _wake_reader(self) noexcept:
        cdef object f = self.reader
        if f is not None:
            self.reader = None
            if not f.done():
                f.set_result(None)

    cdef void _wake_writer(self) noexcept:
        cdef object f = self.writer
        if f is not None:
            self.writer = None
            if not f.done():
                f.set_result(None)

    # --- for towpath/stream.py -----------------------------------------------------------------

    @property
    def session(self):
        return self.session_

    @property
    def available(self):
        """Bytes that read() would return now."""
        return tp_bytequeue_size(&self.inbox)

    def read(self, size_t most):
        """At most `most` of the bytes that are there now; b"" when there are none."""
        cdef size_t n = min(most, tp_bytequeue_size(&self.inbox))
        cdef bytes data
        if n == 0:
            return b""
        data = PyBytes_FromStringAndSize(<char*>tp_bytequeue_head(&self.inbox), n)
        tp_bytequeue_drop(&self.inbox, n)
        self.consume(self.stream, n)
        return data

    def wait_readable(self):
        """A future, done when bytes, the end or a reset are there, or nothing is wanted any more. One reader at a
        time."""
        f = self.session_.channel.reactor.loop.create_future()
        if tp_bytequeue_size(&self.inbox) or self.ended or self.was_reset or self.discarding:
            f.set_result(None)
        else:
            if self.reader is not None and not self.reader.done():
                raise RuntimeError("another task is reading this stream already")
            self.reader = f
        return f

    def write(self, data):
        """Queues bytes (any buffer). False when the stream takes none any more."""
        cdef Py_buffer view
        cdef int r
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            r = self.stream.send(<uint8_t*>view.buf, view.len, False) if view.len else 0
        finally:
            PyBuffer_Release(&view)
        return r == 0 and not self.was_reset

    @property
    def pending(self):
        """Bytes written but not yet in a frame."""
        return tp_bytequeue_size(&self.stream.pending)

    def wait_writable(self):
        """A future, done when at most 256 KiB wait, or the stream was reset. Writers share it."""
        if self.writer is not None and not self.writer.done():
            return self.writer
        f = self.session_.channel.reactor.loop.create_future()
        if self.was_reset or tp_bytequeue_size(&self.stream.pending) <= PENDING_HIGH:
            f.set_result(None)
        else:
            self.writer = f
        return f

    @property
    def finished(self):
        """Both directions are closed, or it was reset: nothing waits to be sent."""
        return self.stream.gone

    def close_write(self):
        self.stream.close_write()

    def discard(self):
        """Drops what has come and what comes from now on; whoever waits for it is woken. The other side has CLOSE_MS to
        end its direction, then the stream is reset."""
        self.discarding = True
        tp_bytequeue_free(&self.inbox)
        self._wake_reader()
        if not self.stream.gone:
            self.session_.channel.reactor.arm(self, CLOSE_MS)

    def reset(self):
        """Ends both directions now; readers and writers are woken."""
        if not self.stream.gone:
            self.stream.reset()
        self.cancel_timer()        # its own even while a negotiation handles the stream
        self.was_reset = True
        self._wake_reader()
        self._wake_writer()


cdef class AppProtocol(Protocol):
    """An inbound protocol that Python serves: accepted(AppStream) is called for each stream."""

    def __init__(self, str name, accepted):
        self.name = name
        self.accepted = accepted

    cdef void accept(self, Session session, Stream s) noexcept:
        cdef AppStream a = make(session, self.name)
        a.stream = s
        s.handler = a
        try:
            self.accepted(a)
        except Exception as error:
            a.reset()
            session.channel.reactor.loop.call_exception_handler(
                {"message": f"who accepts {self.name} failed", "exception": error})


cdef AppStream make(Session session, str name):
    cdef AppStream a = AppStream.__new__(AppStream)
    a.session_ = session
    a.protocol = name
    return a


def open_stream(Session session not None, str protocol not None):
    """Opens a stream; returns (AppStream, future of bool: the other side speaks the protocol; of None: the stream ended
    before that was known), or None when the session is closed."""
    cdef AppStream a = make(session, protocol)
    a.opener = future = session.channel.reactor.loop.create_future()
    a.stream = propose(session, protocol.encode(), a, b"")
    if a.stream is None:
        return None
    return a, future
