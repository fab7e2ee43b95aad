from collections.abc import Callable

from typing_extensions import disjoint_base

from towpath._native.channel import Watch
from towpath._native.endpoint import Endpoint
from towpath._native.session import Session

Row = tuple[Session, bytes, int, int, int, int, int, float]

@disjoint_base
class LineWatch(Watch):
    on_moving: Callable[[], None] | None
    def __init__(self, endpoint: Endpoint) -> None: ...
    @property
    def watching(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def sample(self, most: int = 64) -> list[Row]: ...

def pace(session: Session, bytes_per_second: float | None) -> bool: ...
