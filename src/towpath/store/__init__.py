"""What a node remembers: counters, peers, state and events in one SQLite file, written by one thread."""

from towpath.store.store import Store

__all__ = ["Store"]
