from typing_extensions import disjoint_base

from towpath._native.endpoint import Endpoint

DIAL_REQUEST: str
DIAL_BACK: str

@disjoint_base
class DialService:
    def __init__(self, endpoint: Endpoint, policy: object, done: object) -> None: ...
