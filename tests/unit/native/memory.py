"""How much memory this process has in use: Python's small blocks counted one by one, the rest by malloc's own books."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable

from tests.tools import missing

_FIELDS = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def _malloc_books() -> Callable[[], _Mallinfo2]:
    try:
        books = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        missing("mallinfo2 of glibc 2.33")
    books.restype = _Mallinfo2
    return books


def in_use() -> tuple[int, int]:
    """(blocks of Python's allocator, bytes of malloc's) in use now, garbage collected before."""
    gc.collect()
    info = _malloc_books()()
    return sys.getallocatedblocks(), info.uordblks + info.hblkhd


def check_nothing_stays(once: Callable[[], None], *, rounds: int, warm: int) -> None:
    """Runs `once` until caches are filled, then `rounds` times more, after which no memory more may be in use.

    Native objects of one kind left behind, one a round, would be `rounds` blocks. Under a sanitizer, whose allocator
    keeps no such books, the rounds are run all the same.
    """
    for _ in range(warm):
        once()
    blocks, heap = in_use()
    for _ in range(rounds):
        once()
    blocks, heap = in_use()[0] - blocks, in_use()[1] - heap
    assert blocks < max(rounds // 10, 40), f"{blocks} blocks stayed after {rounds} rounds"
    assert heap < max(rounds * 8, 65536), f"{heap} bytes stayed after {rounds} rounds"
