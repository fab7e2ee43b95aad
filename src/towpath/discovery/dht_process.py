"""The DHT's process as its node sees it."""

from __future__ import annotations

from collections.abc import Callable

from towpath.child_process import ChildProcess
from towpath.dht.messages import FromChild, FromNode, decode_from_child
from towpath.packets import encode

__all__ = ["DhtProcess"]


class DhtProcess(ChildProcess[FromNode, FromChild]):
    """See ChildProcess; it runs `towpath.dht`."""

    def __init__(self, heard: Callable[[FromChild], None], ended: Callable[[str], None]) -> None:
        super().__init__("towpath.dht", encode, decode_from_child, heard, ended)
