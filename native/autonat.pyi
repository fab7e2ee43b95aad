from asyncio import Future
from collections.abc import Callable

from typing_extensions import disjoint_base

from towpath._native.endpoint import Endpoint
from towpath._native.session import Session

DIAL_REQUEST: str
DIAL_BACK: str

class AskFailed(Exception): ...

@disjoint_base
class Autonat:
    def __init__(
        self,
        endpoint: Endpoint,
        policy: Callable[[bytes, bytes, list[bytes]], int | tuple[int, str, int, int, int]],
        done: Callable[[bytes], None],
    ) -> None: ...
    @property
    def serving(self) -> bool: ...
    def serve(self, on: bool) -> None: ...
    def ask(self, session: Session, address: bytes) -> Future[tuple[int, int, bool]]: ...
    def close(self) -> None: ...
