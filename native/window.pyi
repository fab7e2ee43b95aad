from typing_extensions import disjoint_base

from towpath._native.session import Handler

@disjoint_base
class Reader(Handler): ...
