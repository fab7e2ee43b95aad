"""Places and turns that are shared between networks, as identities cost nothing and networks do. Pure.

A network is an IPv4 /24 or an IPv6 /56; whoever is not known to come from one counts as from one and the same.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, Generic, TypeVar

__all__ = ["Queue", "has_place"]

_SHARE: Final = 8
T = TypeVar("T")


def has_place(held: int, vacant: int) -> bool:
    """May a network that holds so many places have one more of those that are vacant?

    The first always; then as long as it holds less than an eighth of what is vacant, so that however many identities
    one invents, eight ninths are left to others.
    """
    return vacant > 0 if held == 0 else held < vacant // _SHARE


class Queue(Generic[T]):
    """At most `size` things, each under a key of its own. Networks take turns; when it is full, the one of which most
    waits makes room.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._of: OrderedDict[bytes, deque[bytes]] = OrderedDict()
        """The keys of each network, in order; that whose turn is next comes first."""
        self._waiting: dict[bytes, tuple[bytes, T]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, network: bytes, key: bytes, what: T) -> bool:
        """Has it wait, in place of what waits under this key; False: there is no room for more of this network."""
        before = self._waiting.get(key)
        if before is not None:
            self._waiting[key] = before[0], what
            return True
        mine = len(self._of.get(network, ()))
        if len(self._waiting) >= self._size:
            most = max(self._of, key=lambda one: len(self._of[one]))
            if len(self._of[most]) <= mine + 1:
                return False
            # What came last waited least.
            del self._waiting[self._of[most].pop()]
        self._of.setdefault(network, deque()).append(key)
        self._waiting[key] = network, what
        return True

    def pop(self) -> tuple[bytes, T]:
        """The key and the thing whose turn it is; KeyError when nothing waits."""
        network, keys = self._of.popitem(last=False)
        key = keys.popleft()
        if keys:
            self._of[network] = keys
        return key, self._waiting.pop(key)[1]

    def clear(self) -> None:
        """Forgets all."""
        self._of.clear()
        self._waiting.clear()
