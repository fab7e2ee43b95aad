from collections.abc import Callable

from typing_extensions import disjoint_base

from towpath._native.appstream import AppStream
from towpath._native.reactor import Pollable
from towpath._native.session import Handler

@disjoint_base
class Side(Handler): ...

@disjoint_base
class Bridge(Pollable):
    on_end: Callable[[], object] | None
    def __init__(self, /, *args: object, **kwargs: object) -> None: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def ended(self) -> bool: ...
    def close(self) -> None: ...

def splice(a: AppStream, fd: int, idle_ms: int = 60000) -> Bridge: ...
