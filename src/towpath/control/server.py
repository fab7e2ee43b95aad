"""The control API over HTTP, on a Unix socket of mode 0600; `/metrics` on TCP besides, where the settings say so.

HTTP is aiohttp's; its import takes a third of a second, so a node loads this only when somebody asks (`late`). The
socket belongs to the node's owner, so limits here guard against mistakes: 64 connections, 64 KiB of body, 30 s of
silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from towpath.control.description import DESCRIPTION, METRICS, describe
from towpath.control.route import Asked, Controlled, NotUnderstood, Parameter, Route, WrongRequest
from towpath.control.routes import EVENTS, ROUTES
from towpath.errors import SettingsError, TowpathError
from towpath.log import get_logger
from towpath.metrics import Metrics

__all__ = ["MAX_BODY", "MAX_CONNECTIONS", "ControlServer", "error_answer"]

MAX_CONNECTIONS: Final = 64
MAX_BODY: Final = 64 * 1024
IDLE: Final = 30.0
"""Seconds that a connection may ask nothing."""
BEAT: Final = 15.0
"""Seconds without an event after which a stream of events says that it is there."""

_log = get_logger("control")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ControlServer:
    """Answers for `node` on a socket that `control.paths.listen` made, between `start` and `stop`.

    `metrics`: a listening TCP socket on which `/metrics` alone is answered.
    """

    def __init__(self, node: Controlled, sock: socket.socket, metrics: socket.socket | None = None) -> None:
        self._node = node
        self._metrics = Metrics(node)
        self._api = _Place(sock, self._everything())
        self._moving: set[asyncio.Task[None]] = set()
        self._face: _Place | None = None
        self._at: _Place | None = None if metrics is None else _Place(metrics, self._metrics_only())
        self._streams: set[asyncio.Task[Any]] = set()

    def serve_also(
        self, sock: socket.socket, tls: ssl.SSLContext | None, dress: Callable[[web.Application], None]
    ) -> None:
        """Answers there, too, once `start` is called: as an application to which `dress` adds what it wants."""
        app = self._everything()
        dress(app)
        self._face = _Place(sock, app, tls)

    async def start(self) -> None:
        """Begins to answer, those first who connected already."""
        for place in self._places():
            await place.start()

    async def stop(self) -> None:
        """Closes every connection and the sockets; the path of the Unix socket is the caller's to remove."""
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._moving)
        for place in self._places():
            await place.stop()

    def _places(self) -> list[_Place]:
        return [place for place in (self._api, self._face, self._at) if place is not None]

    def move_metrics(self, sock: socket.socket | None) -> None:
        """Answers `/metrics` on this socket from now on instead; None: on no TCP socket."""
        before, self._at = self._at, None if sock is None else _Place(sock, self._metrics_only())
        task = asyncio.ensure_future(_replace(before, self._at))
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)

    # --- routes --------------------------------------------------------------------------------

    def _everything(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_sentences])
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._handler(route))
            if route.method == "GET":
                app.router.add_route("HEAD", route.path, self._handler(route))
        app.router.add_get(EVENTS, self._events, allow_head=False)
        app.router.add_get(METRICS, self._scraped)
        app.router.add_get(DESCRIPTION, self._described)
        return app

    def _metrics_only(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_sentences])
        app.router.add_get(METRICS, self._scraped)
        return app

    def _handler(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            asked = Asked(_query(request, route), await _body(request, route), dict(request.match_info))
            # Who hangs up ends a stream of events, but never a change half made.
            return _json(await asyncio.shield(route.answer(self._node, asked)))

        return handle

    async def _described(self, _request: web.Request) -> web.StreamResponse:
        return _json(describe())

    async def _scraped(self, request: web.Request) -> web.StreamResponse:
        kind, text = await self._metrics.expose(request.headers.get("Accept", ""))
        return web.Response(body=text, headers={"Content-Type": kind})

    # --- events --------------------------------------------------------------------------------

    async def _events(self, request: web.Request) -> web.StreamResponse:
        after = _after(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        task = asyncio.current_task()
        if task is not None:
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
        await response.prepare(request)
        # Whoever listened and went away is no error.
        with contextlib.suppress(ConnectionError):
            await response.write(b"retry: 2000\n\n")
            await self._follow(response, after)
        return response

    async def _follow(self, response: web.StreamResponse, after: int | None) -> None:
        events = self._node.events.subscribe(after)
        coming: asyncio.Future[dict[str, Any]] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(events))
                done, _ = await asyncio.wait((coming,), timeout=BEAT)
                if not done:
                    await response.write(b":\n\n")
                    continue
                event, coming = coming.result(), None
                lines = f"id: {event['id']}\nevent: {event['kind']}\ndata: ".encode()
                await response.write(lines + msgspec.json.encode(event) + b"\n\n")
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait((coming,))


class _Place:
    """One listening socket, and what is answered there."""

    def __init__(self, sock: socket.socket, app: web.Application, tls: ssl.SSLContext | None = None) -> None:
        self._socket = sock
        self._tls = tls
        self._runner = web.AppRunner(app, shutdown_timeout=1.0, handler_cancellation=True)
        self._server: asyncio.Server | None = None
        self._silent: set[asyncio.BaseProtocol] = set()
        """Connections on which nothing was asked yet."""
        app.middlewares.insert(0, self._asked)

    async def start(self) -> None:
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        make = loop.create_unix_server if self._socket.family == socket.AF_UNIX else loop.create_server
        patience = None if self._tls is None else IDLE
        self._server = await make(self._connected, sock=self._socket, ssl=self._tls, ssl_handshake_timeout=patience)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    def _connected(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            return _Full()
        loop = asyncio.get_running_loop()
        # None is no log, which its types don't say.
        none: Any = None
        protocol = _Connection(server, loop=loop, access_log=none, keepalive_timeout=IDLE, lingering_time=1.0)
        self._silent.add(protocol)
        # aiohttp waits for ever for a first request.
        loop.call_later(IDLE, self._waited, protocol)
        return protocol

    def _waited(self, protocol: web.RequestHandler) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            protocol.force_close()

    @web.middleware
    async def _asked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._silent.discard(request.protocol)
        return await handler(request)


class _Connection(web.RequestHandler):
    """aiohttp's, but for what is not HTTP: anybody can send that, so it is answered and not logged."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError) or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        answer = error_answer(HTTPStatus.BAD_REQUEST, "this is no request that is understood here, or it is too long")
        # What makes the answers of a place its own is not asked for this one.
        answer.headers.update(_BARE)
        answer.force_close()
        return answer


_BARE: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Server": "towpath",
    "X-Content-Type-Options": "nosniff",
}


async def _replace(before: _Place | None, after: _Place | None) -> None:
    if before is not None:
        await before.stop()
    if after is not None:
        await after.start()


class _Full(asyncio.Protocol):
    """A connection too many: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@web.middleware
async def _sentences(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Says in a sentence what went wrong, and keeps the server going."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        known = ", ".join(sorted({resource.canonical for resource in request.app.router.resources()}))
        return error_answer(HTTPStatus.NOT_FOUND, f"there is no {request.path[:200]}; there are {known}")
    except web.HTTPMethodNotAllowed as e:
        methods = ", ".join(sorted(e.allowed_methods))
        answer = error_answer(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.path} answers {methods} only")
        answer.headers["Allow"] = methods
        return answer
    except web.HTTPRequestEntityTooLarge:
        return error_answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is too large; {MAX_BODY} bytes are allowed")
    except web.HTTPException as e:
        return error_answer(HTTPStatus(e.status), e.reason)
    except NotUnderstood as e:
        return error_answer(HTTPStatus.BAD_REQUEST, str(e))
    except WrongRequest as e:
        return error_answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(e))
    except SettingsError as e:
        facts = {"key": e.key, "allowed": e.allowed, "nearest": e.nearest}
        return error_answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(e), facts)
    except (TowpathError, OSError) as e:
        status = HTTPStatus.INTERNAL_SERVER_ERROR if request.method == "GET" else HTTPStatus.CONFLICT
        return error_answer(status, str(getattr(e, "strerror", None) or e))
    except Exception:  # noqa: BLE001 - a row that cannot be made must not end the API
        _log.exception("control.failed", path=request.path)
        return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{request.path} failed; the node's log says why")


def _query(request: web.Request, route: Route) -> dict[str, str]:
    found = {name: field.default for name, field in route.query.items()}
    for name, value in request.query.items():
        field = route.query.get(name)
        if field is None:
            known = ", ".join(route.query) or "none"
            raise NotUnderstood(f"{route.path} has no parameter {name[:100]!r}; it takes {known}")
        allowed = _allowed(field, value)
        if allowed is not None:
            raise WrongRequest(f"{name} cannot be {value[:100]!r}; allowed is {allowed}")
        found[name] = value
    return found


def _allowed(field: Parameter, value: str) -> str | None:
    """What may stand there, when that is not what does."""
    schema = field.schema
    if "enum" in schema:
        return None if value in schema["enum"] else ", ".join(schema["enum"])
    is_one = value.isascii() and value.isdigit() and len(value) <= 18
    if is_one and schema["minimum"] <= int(value) <= schema["maximum"]:
        return None
    return f"a whole number from {schema['minimum']} to {schema['maximum']}"


async def _body(request: web.Request, route: Route) -> Any:
    if route.body is None:
        return None
    try:
        async with asyncio.timeout(IDLE):
            text = await request.read() or b"{}"
    except TimeoutError as e:
        raise NotUnderstood("the rest of the body did not come") from e
    try:
        raw = msgspec.json.decode(text)
    except msgspec.DecodeError as e:
        raise NotUnderstood(f"the body is not JSON: {e}") from e
    try:
        return msgspec.convert(raw, route.body.kind)
    except msgspec.ValidationError as e:
        raise NotUnderstood(f"the body is not what {route.path} takes: {e}") from e


def _after(request: web.Request) -> int | None:
    for name in request.query:
        if name != "after":
            raise NotUnderstood(f"{EVENTS} has no parameter {name[:100]!r}; it takes after")
    text = request.headers.get("Last-Event-ID") or request.query.get("after")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise NotUnderstood(f"{text[:100]!r} is not the id of an event; it is a whole number")
    return int(text)


def error_answer(status: HTTPStatus, sentence: str, facts: dict[str, Any] | None = None) -> web.Response:
    """What went wrong, as JSON."""
    return _json({"error": sentence, **(facts or {})}, status)


def _json(content: Any, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")
