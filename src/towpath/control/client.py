"""Asks a running node over its control socket. Blocking; for the command line."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, Final

from towpath.control.paths import READY_FILE, socket_path
from towpath.errors import NotRunning, TowpathError

__all__ = ["ask", "ready"]

TIMEOUT: Final = 10.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(TIMEOUT)
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
    """The JSON that GET `path` gives. NotRunning when no node runs on `data`, TowpathError on refusal."""
    said = ready(data) or {}
    api = said.get("api")
    connection = _UnixConnection(api if isinstance(api, str) else str(socket_path(data)))
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        content = json.loads(response.read())
    except (FileNotFoundError, ConnectionRefusedError) as e:
        raise NotRunning(f"no node is running on {data}; start one with `towpath run --data {data}`") from e
    except PermissionError as e:
        raise TowpathError(f"the node on {data} is another user's; run this command as that user") from e
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise TowpathError(f"the node on {data} gave no answer: {e or type(e).__name__}; see its log") from e
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise TowpathError(content.get("error", f"the node answered {response.status}"))
    return content
