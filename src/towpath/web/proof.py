"""How the node proves to its page who it is, and what the page says in place of the token. Pure.

When a node stops, whoever is first has its port, and a tab that is open goes on asking there. So the page asks for a
proof before it says anything, and what it says then is good for this port and this run of the node alone: a program
that passes questions on to the node elsewhere, or hears an answer and waits for the node, has nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from towpath.web.ticket import secret_of

__all__ = ["QUESTION_MAX", "RUN", "Prover", "session"]

RUN: Final = 16
"""Random bytes that name a run of the node."""
QUESTION_MAX: Final = 100
"""Bytes of a question."""
_FORM: Final = re.compile(r"(?P<nonce>[0-9a-f]{32})(?: (?P<ticket>[1-9][0-9]{0,11}\.[0-9a-f]{32}))?", re.ASCII)


class Prover:
    """Of one run of the node, at a port."""

    def __init__(self, token: str, port: int, run: bytes) -> None:
        self._token = token
        self._run = run.hex()
        self._port = port
        self._known = (token.encode(), session(token, self._run, port).encode())

    def answer(self, question: str) -> dict[str, str | int] | None:
        """The run, the port and the proof, for `NONCE` or `NONCE TICKET`; None for what is no such question.

        The nonce is 16 bytes in hexadecimal. A page that has a ticket only, and says all of it but the secret at its
        end, is answered by that secret instead of the token.
        """
        found = _FORM.fullmatch(question)
        if found is None:
            return None
        secret = self._token if found["ticket"] is None else secret_of(self._token, found["ticket"])
        said = f"towpath page proof {self._run} {self._port} {found['nonce']}"
        return {"run": self._run, "port": self._port, "proof": _mac(secret, said)}

    def knows(self, given: str) -> bool:
        """Is this the token, or what a page says in its place?"""
        said = given.encode("utf-8", "surrogateescape")
        return any(hmac.compare_digest(said, known) for known in self._known)


def session(token: str, run: str, port: int) -> str:
    """What a page says to this run of the node at this port."""
    return _mac(token, f"towpath page session {run} {port}")


def _mac(secret: str, said: str) -> str:
    return hmac.new(secret.encode(), said.encode(), hashlib.sha256).hexdigest()
