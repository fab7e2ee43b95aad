from typing_extensions import disjoint_base

from towpath._native.reactor import Reactor

@disjoint_base
class Meter:
    @property
    def reactor(self) -> Reactor: ...
    @property
    def received(self) -> int: ...
    @property
    def sent(self) -> int: ...
