"""Logging: structlog events with stable names, peer ids shortened, addresses hidden unless the owner wants
them.

`configure` is for programs (the command line calls it); a library user's own structlog set-up is left alone.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor, WrappedLogger

    from towpath.settings import LogSettings

__all__ = ["configure", "get_logger", "hide_addresses", "short_peer_id"]

_PEER_ID: Final = re.compile(
    r"\b(?:12D3KooW[1-9A-HJ-NP-Za-km-z]{44}|Qm[1-9A-HJ-NP-Za-km-z]{44}|16Uiu2[1-9A-HJ-NP-Za-km-z]{47})\b"
)
_IP4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_IP6: Final = re.compile(r"(?<![\w.:])[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]*[0-9a-fA-F:](?!\w)")
_TELLS_NOTHING: Final = ("127.0.0.1", "0.0.0.0", "::1", "::")  # noqa: S104 - to be compared with, not bound to


def short_peer_id(text: str) -> str:
    """A peer id as people tell them apart: its last six characters, `…Zk3pQ9`."""
    return "…" + text[-6:] if len(text) > 12 else text


def hide_addresses(text: str) -> str:
    """A text without the IP addresses in it; loopback and unspecified ones tell nothing and stay."""
    return _IP4.sub(_hidden, _IP6.sub(_hidden, text))


def _hidden(match: re.Match[str]) -> str:
    text = match[0]
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:
        return text
    return text if text in _TELLS_NOTHING else "<hidden>"


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose events carry `component=name`."""
    logger: FilteringBoundLogger = _structlog().get_logger(component=name)
    return logger


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Sends every event to `stream` (default stderr) as the settings say."""
    structlog = _structlog()
    out = sys.stderr if stream is None else stream
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redactor(addresses=settings.addresses),
    ]
    if settings.format == "json" or (settings.format == "auto" and not out.isatty()):
        processors.append(structlog.processors.JSONRenderer(ensure_ascii=False))
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=0))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def _redactor(*, addresses: bool) -> Processor:
    def clean(value: Any) -> Any:
        if isinstance(value, str):
            value = _PEER_ID.sub(lambda m: short_peer_id(m[0]), value)
            return value if addresses else hide_addresses(value)
        if isinstance(value, (list, tuple)):
            return [clean(part) for part in value]
        return value

    def process(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if key != "timestamp":
                event[key] = clean(value)
        return event

    return process


def _structlog() -> Any:
    """Structlog without rich, which it would import only to colour tracebacks, at 5 MiB a process."""
    if "structlog" not in sys.modules:
        hidden = "rich" not in sys.modules
        if hidden:
            sys.modules["rich"] = None  # type: ignore[assignment]
        try:
            import structlog
        finally:
            if hidden:
                del sys.modules["rich"]
    import structlog

    return structlog
