"""What the page's place answers: the files of the page, and the control API for whoever has the token.

No cookies: those of 127.0.0.1 are shared by every port, and a browser sends them for whoever asks. The token, or what
the page says in its place (`proof`), comes in the Authorization header, which only our own page's script sets; so no
other page can act in its owner's name.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

import msgspec
from aiohttp import ETag, web

from towpath.control.server import error_answer
from towpath.web.names import foreign, known_host
from towpath.web.proof import QUESTION_MAX, RUN, Prover
from towpath.web.ticket import Tickets

__all__ = ["HEADERS", "Dress"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer: no inline script or style, nothing from elsewhere, no frame around it, no HTML made of text."""

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "webmanifest": "application/manifest+json",
}
"""What is served of the page's folder, by the end of its name; licences and notes are not."""
_FIRST: Final = "index.html"
_SCHEME: Final = "Bearer "
_TICKET: Final = "/ticket"
_PROOF: Final = "/proof"
_TICKET_BYTES: Final = 200
_SAID_S: Final = 10.0


class Dress:
    """Called with the control API's application, before that is started."""

    def __init__(self, token: str, port: int, names: frozenset[str], *, secure: bool) -> None:
        self._token = token
        self._prover = Prover(token, port, secrets.token_bytes(RUN))
        self._tickets = Tickets(token)
        self._names = names
        self._secure = secure
        self._files = dict(_files(resources.files("towpath.web") / "page", ""))

    def __call__(self, app: web.Application) -> None:
        """Adds the page's files, and asks everybody for where they come from and what they know."""
        app.middlewares.insert(0, self._guard)
        app.on_response_prepare.append(_headed)
        for name in self._files:
            app.router.add_get(f"/{name}", self._file)
        app.router.add_get("/", self._file)
        app.router.add_post(_TICKET, self._exchanged)
        app.router.add_post(_PROOF, self._proven)
        self._open = frozenset({"/", _TICKET, _PROOF, *(f"/{name}" for name in self._files)})

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = request.headers
        host = headers.get("Host", "")
        if not known_host(host, self._names):
            sentence = "this page is not known under that name; set web.names, or use its address"
            return error_answer(HTTPStatus.MISDIRECTED_REQUEST, sentence)
        site, destination = headers.get("Sec-Fetch-Site"), headers.get("Sec-Fetch-Dest")
        reason = foreign(host, headers.get("Origin"), site, destination, secure=self._secure)
        if reason is not None:
            return error_answer(HTTPStatus.FORBIDDEN, f"this request is not this page's: {reason}")
        if request.path not in self._open and not self._knows(request):
            return _unknown("the token is missing or wrong; open the page with `towpath web`")
        return await handler(request)

    def _knows(self, request: web.Request) -> bool:
        said = request.headers.get("Authorization", "")
        given = said[len(_SCHEME) :].strip() if said[: len(_SCHEME)].lower() == _SCHEME.lower() else ""
        return self._prover.knows(given)

    async def _proven(self, request: web.Request) -> web.StreamResponse:
        """That this is the node whose token the asker has; see Prover."""
        answer = self._prover.answer(await _said(request, QUESTION_MAX))
        if answer is None:
            return error_answer(HTTPStatus.BAD_REQUEST, "this is no question that the page would ask")
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    async def _exchanged(self, request: web.Request) -> web.StreamResponse:
        """The token, for a ticket."""
        if not self._tickets.take(await _said(request, _TICKET_BYTES), time.time()):
            return _unknown("this address was used before, or is too old; open the page with `towpath web`")
        return web.Response(body=msgspec.json.encode({"token": self._token}), content_type="application/json")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.path.lstrip("/") or _FIRST
        content = await asyncio.to_thread(self._files[name].read_bytes)
        tag = hashlib.blake2b(content, digest_size=12).hexdigest()
        known = request.if_none_match or ()
        same = ETag(value=tag) in known
        answer = web.Response(status=HTTPStatus.NOT_MODIFIED) if same else web.Response(body=content)
        answer.headers["Content-Type"] = _TYPES[name.rpartition(".")[2]]
        # Always asked for anew, so that a page is never older than its node.
        answer.headers["Cache-Control"] = "no-cache"
        answer.etag = tag
        return answer


async def _said(request: web.Request, most: int) -> str:
    """The body of whoever is nobody yet: no more is read of it than so many bytes and some, and not for long."""
    said = b""
    try:
        async with asyncio.timeout(_SAID_S):
            while len(said) <= most and (piece := await request.content.read(most)):
                said += piece
    except TimeoutError:
        return ""
    return said.decode("latin-1")


def _unknown(sentence: str) -> web.Response:
    answer = error_answer(HTTPStatus.UNAUTHORIZED, sentence)
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


async def _headed(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "towpath"


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{path}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            yield f"{path}{entry.name}", entry
