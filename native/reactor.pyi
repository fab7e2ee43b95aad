from asyncio import AbstractEventLoop
from typing import Any

from typing_extensions import disjoint_base

DEFAULT_BUDGET: int

@disjoint_base
class Timed: ...

@disjoint_base
class Pollable(Timed): ...

@disjoint_base
class Reactor:
    held: int
    budget: int
    bytes_read: int
    bytes_sent: int
    budget_resets: int
    def __init__(self, loop: AbstractEventLoop, aead: str = "auto", budget: int = ...) -> None: ...
    @property
    def loop(self) -> AbstractEventLoop: ...
    @property
    def closed(self) -> bool: ...
    @property
    def aead_name(self) -> str: ...
    def close(self) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def clear_slices(self) -> None: ...
