"""Logging: structlog events with stable names, peer ids shortened, addresses hidden unless the owner wants
them.

`configure` is for programs (the command line calls it, again when a setting changed); a library user's own structlog
set-up is left alone.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from towpath.host import journal

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor, WrappedLogger

    from towpath.settings import LogSettings

__all__ = ["configure", "get_logger", "hide_addresses", "short_peer_id"]

_PEER_ID: Final = re.compile(
    r"\b(?:12D3KooW[1-9A-HJ-NP-Za-km-z]{44}|Qm[1-9A-HJ-NP-Za-km-z]{44}|16Uiu2[1-9A-HJ-NP-Za-km-z]{47})\b"
)
_DNS: Final = re.compile(r"(?<=/)(dns[46]?|dnsaddr)/[^/\s'\"\]]+")
_IP4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_IP6: Final = re.compile(r"(?<![\w.:])[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]*[0-9a-fA-F:](?!\w)")
_TELLS_NOTHING: Final = ("127.0.0.1", "0.0.0.0", "::1", "::")  # noqa: S104 - to be compared with, not bound to


def short_peer_id(text: str) -> str:
    """A peer id as people tell them apart: its last six characters, `…Zk3pQ9`."""
    return "…" + text[-6:] if len(text) > 12 else text


def hide_addresses(text: str) -> str:
    """A text without the IP addresses and the names of multiaddrs in it; loopback and unspecified ones tell nothing
    and stay.
    """
    return _IP4.sub(_hidden, _IP6.sub(_hidden, _DNS.sub(r"\1/<hidden>", text)))


def _hidden(match: re.Match[str]) -> str:
    text = match[0]
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:
        return text
    return text if text in _TELLS_NOTHING else "<hidden>"


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose events carry `component=name`: as structlog was set up, here or by the program that uses us.

    Where nobody did, warnings and worse go to stderr; structlog by itself prints everything on stdout.
    """
    return cast("FilteringBoundLogger", _Logger(name))


class _Logger:
    """Asks at each event how things are set up, which may be long after a module made its logger."""

    __slots__ = ("_component",)

    def __init__(self, component: str) -> None:
        self._component = component

    def __getattr__(self, name: str) -> Any:
        structlog = _structlog()
        if structlog.is_configured():
            return getattr(structlog.get_logger(component=self._component), name)
        quiet = structlog.wrap_logger(
            structlog.PrintLogger(sys.stderr),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                _redactor(addresses=False),
                structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            component=self._component,
        )
        return getattr(quiet, name)


def configure(settings: LogSettings, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Sends every event to `stream` (default stderr) as the settings say; events of other libraries, too.

    Format `auto`: to the journal if the stream leads there, as text on a terminal, else as JSON lines. May be called
    again, with other settings, at any time.
    """
    structlog = _structlog()
    out = sys.stderr if stream is None else stream
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        _redactor(addresses=settings.addresses),
    ]
    if settings.format == "auto" and journal.connected(out, environ):
        entries = journal.Journal(out)
        processors.append(_journal_arguments)
        factory: Any = lambda *_: _JournalLogger(entries)  # noqa: E731 - structlog calls it for each logger
    else:
        processors.insert(1, structlog.processors.TimeStamper(fmt="iso", utc=True))
        if settings.format == "json" or (settings.format == "auto" and not out.isatty()):
            processors.append(structlog.processors.JSONRenderer(ensure_ascii=False))
        else:
            processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=0))
        factory = structlog.PrintLoggerFactory(out)
    level = getattr(logging, settings.level.upper())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )
    _FromLibraries.install(max(level, logging.WARNING))


class _FromLibraries(logging.Handler):
    """What libraries tell the standard library's logging, as events, so that addresses are hidden there as well."""

    @classmethod
    def install(cls, level: int) -> None:
        """Takes what is at least that urgent; in place of one that was installed before."""
        root = logging.getLogger()
        root.handlers = [handler for handler in root.handlers if not isinstance(handler, cls)] + [cls()]
        root.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        get_logger(record.name).log(level, "library.message", message=record.getMessage(), exc_info=record.exc_info)


class _JournalLogger:
    """The last link of structlog's chain: every level's method sends to the journal."""

    def __init__(self, entries: journal.Journal) -> None:
        self._entries = entries

    def _write(self, message: str, level: str, fields: Mapping[str, object]) -> None:
        self._entries.write(message, level, fields)

    debug = info = warning = error = critical = exception = fatal = msg = log = _write


def _journal_arguments(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str, str, Mapping[str, object]], dict[str, object]]:
    """The event as `_JournalLogger` takes it: a line for people (a trace may follow), the level, the fields."""
    level = str(event.pop("level", "info"))
    trace = event.get("exception")
    facts = " ".join(f"{k}={v}" for k, v in event.items() if k not in ("event", "component", "exception"))
    line = f"{event.get('component', 'towpath')}: {event.get('event')} {facts}".rstrip()
    return (f"{line}\n{trace}" if trace else line, level, event), {}


def _redactor(*, addresses: bool) -> Processor:
    def clean(value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, (list, tuple)):
            return [clean(part) for part in value]
        if isinstance(value, Mapping):
            return {str(key): clean(part) for key, part in value.items()}
        text = _PEER_ID.sub(lambda m: short_peer_id(m[0]), str(value))
        return text if addresses else hide_addresses(text)

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
