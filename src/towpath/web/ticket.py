"""Tickets: what stands in the address that a browser is started with. Pure.

Other users of the machine read the arguments of every process, and a browser keeps its history, so that address must
not hold the token. A ticket is good for two minutes, and for whoever comes with it first.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

__all__ = ["GOOD_FOR", "NONCE", "Tickets", "issue", "secret_of"]

GOOD_FOR: Final = 120
"""Seconds: a browser may take long to start."""
NONCE: Final = 16
"""Random bytes in each."""
_FORM: Final = re.compile(r"(?P<said>(?P<until>[1-9][0-9]{0,11})\.[0-9a-f]{32})\.(?P<proof>[0-9a-f]{64})", re.ASCII)


def issue(token: str, now: float, nonce: bytes) -> str:
    """A ticket of whoever has the token. The nonce is random, and never given twice."""
    said = f"{int(now) + GOOD_FOR}.{nonce.hex()}"
    return f"{said}.{secret_of(token, said)}"


class Tickets:
    """Takes the tickets of a token, each once."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._taken: dict[str, int] = {}
        """Until when those would be good. Only who has the token makes them many."""

    def take(self, ticket: str, now: float) -> bool:
        """Is it ours, new, and still good? Then it is not any more."""
        found = _FORM.fullmatch(ticket)
        if found is None or not hmac.compare_digest(found["proof"], secret_of(self._token, found["said"])):
            return False
        until = int(found["until"])
        self._taken = {said: end for said, end in self._taken.items() if end >= now}
        # Nor one of a clock that was ahead: it would be good for long.
        if not now <= until <= now + GOOD_FOR or found["said"] in self._taken:
            return False
        self._taken[found["said"]] = until
        return True


def secret_of(token: str, said: str) -> str:
    """What stands at the end of the ticket that begins so, and nobody without the token knows."""
    return hmac.new(token.encode(), f"towpath page ticket {said}".encode(), hashlib.sha256).hexdigest()
