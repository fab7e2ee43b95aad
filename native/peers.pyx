# cython: language_level=3
"""Who is connected to an endpoint: a peer, its sessions, and what it has here."""
cimport cython

from towpath._native.session cimport Session


@cython.no_gc
cdef class Peer:
    """A peer with at least one session."""

    def __init__(self, bytes id):
        self.id = id
        self.sessions = []

    cdef Session best(self):
        """Its newest session that still takes streams, or None."""
        cdef Session session
        for session in reversed(self.sessions):
            if not session.closed and not session.going_away:
                return session
        return None

    cdef Session direct(self):
        """The newest of those that did not come through a relay, or None."""
        cdef Session session
        for session in reversed(self.sessions):
            if not session.closed and not session.going_away and not session.channel.via:
                return session
        return None
