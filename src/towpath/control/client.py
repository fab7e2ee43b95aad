"""Asks a running node over its control socket. Blocking; for the command line."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from towpath.control.paths import READY_FILE, data_directory, socket_path
from towpath.errors import NotRunning, TowpathError

__all__ = ["Following", "Refused", "ask", "change", "follow", "ready"]

TIMEOUT: Final = 10.0


class Refused(TowpathError):
    """The node does not do what it was asked, because the request or a value in it is wrong."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self.sock = sock


def ready(data: Path) -> dict[str, Any] | None:
    """What the node on `data` said when it was ready; None when it says nothing. It may have died since."""
    try:
        found = json.loads((data / READY_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def ask(data: Path, path: str) -> Any:
    """The JSON that GET `path` gives.

    NotRunning when no node runs on `data`, Refused for a wrong request, TowpathError for everything else that fails.
    """
    return change(data, "GET", path)


def change(data: Path, method: str, path: str, content: Any = None, *, timeout: float = TIMEOUT) -> Any:
    """The JSON that `method` of `path` gives, having sent `content` as JSON, in `timeout` seconds. Raises as `ask`."""
    connection = _connection(data, timeout)
    try:
        response = _request(data, connection, method, path, None if content is None else json.dumps(content))
        found = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise _no_answer(data, e) from e
    finally:
        connection.close()
    _check(response, found)
    return found


class Following:
    """Events of a node as they come: iterate to wait for them, `close` from any thread to end that."""

    def __init__(self, data: Path, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._data = data
        self._connection = connection
        self._response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Ends when the node ends, or after `close`; it is closed then."""
        try:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
                while line := self._response.readline():
                    if line.startswith(b"data:"):
                        yield json.loads(line[5:])
        finally:
            self.close()

    def close(self) -> None:
        """Ends it; an iteration that waits ends at once."""
        with contextlib.suppress(OSError):
            if self._connection.sock is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._response.close()
        self._connection.close()


def follow(data: Path, after: int = 0) -> Following:
    """The events that the node remembers of an id above `after`, and those that come. Raises as `ask` does."""
    connection = _connection(data)
    try:
        response = _request(data, connection, "GET", f"/v1/events?after={after}", None)
        if response.status != HTTPStatus.OK:
            _check(response, json.loads(response.read()))
    except (OSError, http.client.HTTPException, ValueError) as e:
        connection.close()
        raise _no_answer(data, e) from e
    # Silence is no failure here: the node says each quarter of a minute that it is there.
    connection.sock.settimeout(None)
    return Following(data, connection, response)


def _connection(data: Path, timeout: float = TIMEOUT) -> _UnixConnection:
    api = (ready(data) or {}).get("api")
    return _UnixConnection(api if isinstance(api, str) else str(socket_path(data)), timeout)


def _request(
    data: Path, connection: _UnixConnection, method: str, path: str, body: str | None
) -> http.client.HTTPResponse:
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    except (FileNotFoundError, ConnectionRefusedError) as e:
        where = "" if data == data_directory(None) else f" --data {data}"
        raise NotRunning(f"no node is running on {data}; start one with `towpath run{where}`") from e
    except PermissionError as e:
        raise TowpathError(f"the node on {data} is another user's; run this command as that user") from e
    return connection.getresponse()


def _check(response: http.client.HTTPResponse, content: Any) -> None:
    if response.status == HTTPStatus.OK:
        return
    sentence = content.get("error", f"the node answered {response.status}")
    if response.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
        raise Refused(sentence)
    raise TowpathError(sentence)


def _no_answer(data: Path, error: Exception) -> TowpathError:
    return TowpathError(f"the node on {data} gave no answer: {error or type(error).__name__}; see its log")
