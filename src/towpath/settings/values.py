"""The kinds of values a setting can have: how each is read from text or TOML, written back, and described.

Pure; used by the schema and by the command line (`--expires 2h`). A kind's `read` raises ValueError with
what is allowed.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple, Protocol

__all__ = [
    "AUTO",
    "NONE",
    "UNLIMITED",
    "Bool",
    "Choice",
    "Count",
    "FilePath",
    "HostPort",
    "Kind",
    "ListenAt",
    "Rate",
    "Size",
    "Time",
    "format_rate",
    "format_size",
    "format_time",
    "host_name",
    "read_host_port",
]

UNLIMITED: Final = None
"""The value of a limit that limits nothing."""
AUTO: Final = "auto"
"""The value of a setting that the node works out by itself."""
NONE: Final = "none"
"""How "nothing listens here" is written."""

TomlValue = str | int | bool | list[str]


class HostPort(NamedTuple):
    """A place to listen at."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Kind(Protocol):
    """How the values of a setting are read and written."""

    @property
    def allowed(self) -> str:
        """What may stand there, as the end of a sentence."""

    def read(self, value: object) -> Any:
        """The value that `value` (text, or TOML's own type) stands for; ValueError when it is none."""

    def write(self, value: Any) -> TomlValue:
        """What stands in the file for a value that `read` returned; reading it again gives the same value."""


class Bool:
    """True or false."""

    allowed: Final = "true or false"

    def read(self, value: object) -> bool:
        """See Kind."""
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            word = value.strip().lower()
            if word in ("true", "yes", "on", "1"):
                return True
            if word in ("false", "no", "off", "0"):
                return False
        raise ValueError(f"allowed is {self.allowed}")

    def write(self, value: bool) -> TomlValue:
        """See Kind."""
        return value


class Choice:
    """One word of several."""

    def __init__(self, *words: str) -> None:
        self.words: Final = words
        self.allowed: Final = ", ".join(words[:-1]) + " or " + words[-1]

    def read(self, value: object) -> str:
        """See Kind."""
        if isinstance(value, str) and value.strip().lower() in self.words:
            return value.strip().lower()
        raise ValueError(f"allowed is {self.allowed}")

    def write(self, value: str) -> TomlValue:
        """See Kind."""
        return str(value)


class _Limit:
    """A number with a smallest and a largest value, perhaps `unlimited` and perhaps `auto`."""

    form = ""

    def __init__(
        self, least: float = 0, most: float = 2**63 - 1, *, unlimited: bool = True, auto: bool = False
    ) -> None:
        self.least: Final = least
        self.most: Final = most
        self.unlimited: Final = unlimited
        self.auto: Final = auto

    @property
    def allowed(self) -> str:
        """See Kind."""
        text = f"{self.form} from {self.show(self.least)}"
        if self.most < 2**62:
            text += f" to {self.show(self.most)}"
        if self.auto:
            text += ", or auto"
        return text + (", or unlimited" if self.unlimited else "; it cannot be unlimited")

    def read(self, value: object) -> Any:
        """See Kind."""
        if isinstance(value, str):
            value = value.strip()
            word = value.lower()
            if word == "unlimited" and self.unlimited:
                return UNLIMITED
            if word == AUTO and self.auto:
                return AUTO
            number = self.number(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            number = self.plain(value)
        else:
            number = None
        if number is None or not self.least <= number <= self.most:
            raise ValueError(f"allowed is {self.allowed}")
        return number

    def write(self, value: Any) -> TomlValue:
        """See Kind."""
        if value is UNLIMITED:
            return "unlimited"
        if value == AUTO:
            return AUTO
        return self.toml(value)

    def plain(self, value: float) -> float | None:
        """A number given without a unit."""
        return value if value == int(value) else None

    def number(self, text: str) -> float | None:
        """The number in a text, None when there is none."""
        raise NotImplementedError

    def show(self, value: float) -> str:
        """A number as people write it."""
        raise NotImplementedError

    def toml(self, value: Any) -> TomlValue:
        """A number as it stands in the file."""
        return self.show(value)


_NUMBER: Final = r"(\d{1,19}(?:\.\d{1,9})?)"


class Count(_Limit):
    """How many of something."""

    form = "a whole number"

    def number(self, text: str) -> float | None:
        """See _Limit."""
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None

    def plain(self, value: float) -> float | None:
        """See _Limit."""
        return value if isinstance(value, int) else None

    def show(self, value: float) -> str:
        """See _Limit."""
        return str(int(value))

    def toml(self, value: int) -> TomlValue:
        """See _Limit."""
        return value


_SIZE_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "pb": 10**15,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "pib": 2**50,
}
_SIZE_NAMES: Final = (
    ("PB", 10**15),
    ("PiB", 2**50),
    ("TB", 10**12),
    ("TiB", 2**40),
    ("GB", 10**9),
    ("GiB", 2**30),
    ("MB", 10**6),
    ("MiB", 2**20),
    ("kB", 10**3),
    ("KiB", 2**10),
)
_SIZE: Final = re.compile(_NUMBER + r"\s*([a-zA-Z]{0,3})", re.ASCII)


class Size(_Limit):
    """Bytes: `500MB` (10⁶), `2GiB` (2³⁰), or a plain number of bytes. Read as an int."""

    form = "a size such as 500MB or 2GiB"

    def number(self, text: str) -> float | None:
        """See _Limit."""
        match = _SIZE.fullmatch(text)
        unit = _SIZE_UNITS.get(match[2].lower()) if match else None
        return None if match is None or unit is None else _times(match[1], unit)

    def plain(self, value: float) -> float | None:
        """See _Limit."""
        return value if isinstance(value, int) else None

    def show(self, value: float) -> str:
        """See _Limit."""
        return format_size(int(value))


class Rate(_Limit):
    """Bytes per second, as a float: `3MB/s`, `20Mbit/s`, `50MB/h`, or a plain number of bytes per second."""

    form = "a rate such as 20Mbit/s or 3MB/s"

    def number(self, text: str) -> float | None:
        """See _Limit."""
        amount, slash, per = text.partition("/")
        seconds = {"s": 1, "min": 60, "h": 3600, "d": 86400}.get(per.strip().lower())
        if not slash or seconds is None:
            return None
        match = re.fullmatch(_NUMBER + r"\s*([a-zA-Z]{1,4})", amount.strip(), re.ASCII)
        if match is None:
            return None
        unit = match[2].lower()
        if unit.endswith("bit"):
            scale = _SIZE_UNITS.get(unit[:-2]) if unit != "bit" else 1
            bits = 8
        else:
            scale, bits = _SIZE_UNITS.get(unit), 1
        return None if scale is None else float(match[1]) * scale / bits / seconds

    def plain(self, value: float) -> float | None:
        """See _Limit."""
        return float(value)

    def show(self, value: float) -> str:
        """See _Limit."""
        return format_rate(value)


_TIME_UNITS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TIME: Final = re.compile(_NUMBER + r"\s*([a-z]{1,3})\s*", re.ASCII)


class Time(_Limit):
    """Seconds, as a float: `90s`, `2h`, `1h30m`, `250ms`, `7d`, or a plain number of seconds."""

    form = "a time such as 90s or 2h"

    def number(self, text: str) -> float | None:
        """See _Limit."""
        total, at, text = 0.0, 0, text.lower()
        if text.isascii() and text.isdigit() and len(text) <= 18:
            return float(text)
        while at < len(text):
            match = _TIME.match(text, at)
            if match is None or match[2] not in _TIME_UNITS:
                return None
            total += float(match[1]) * _TIME_UNITS[match[2]]
            at = match.end()
        return total if text else None

    def plain(self, value: float) -> float | None:
        """See _Limit."""
        return float(value)

    def show(self, value: float) -> str:
        """See _Limit."""
        return format_time(value)


class ListenAt:
    """A `host:port`, or `none`. Read as a HostPort, or None when nothing is to listen."""

    allowed: Final = "a HOST:PORT such as 127.0.0.1:4080 or [::1]:4080, or none"

    def read(self, value: object) -> HostPort | None:
        """See Kind."""
        if isinstance(value, str):
            if value.strip().lower() == NONE:
                return None
            try:
                return read_host_port(value.strip())
            except ValueError:
                pass
        raise ValueError(f"allowed is {self.allowed}")

    def write(self, value: HostPort | None) -> TomlValue:
        """See Kind."""
        return NONE if value is None else str(value)


class FilePath:
    """The path of a file, or `none`. Read as a text, or None when there is to be no file."""

    allowed: Final = "the path of a file, or none"

    def read(self, value: object) -> str | None:
        """See Kind."""
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError(f"allowed is {self.allowed}")
        return None if value.strip().lower() == NONE else value.strip()

    def write(self, value: str | None) -> TomlValue:
        """See Kind."""
        return NONE if value is None else value


_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)


def host_name(text: object) -> str:
    """The name of a machine, in lower case."""
    if not isinstance(text, str) or not _HOST.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not the name of a machine")
    return text.strip().lower()


def read_host_port(text: str) -> HostPort:
    """`127.0.0.1:80`, `[::1]:80`, `localhost:80`; ValueError otherwise."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8080")
    if host.startswith("[") and host.endswith("]"):
        import socket

        host = host[1:-1]
        try:
            socket.inet_pton(socket.AF_INET6, host)
        except (OSError, ValueError) as e:
            raise ValueError(f"{text!r} is not HOST:PORT: {host!r} is no IPv6 address") from e
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080")
    return HostPort(host, int(port))


def format_size(size: int) -> str:
    """A size in the largest unit that says it exactly, else in plain bytes."""
    for name, unit in _SIZE_NAMES:
        if size >= unit and size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"


def format_rate(rate: float) -> str:
    """A rate as a whole number of some unit, else as bytes per second with a fraction."""
    for per, seconds in (("s", 1), ("min", 60), ("h", 3600), ("d", 86400)):
        amount = round(rate * seconds)
        if amount / seconds == rate:
            return f"{format_size(amount)}/{per}"
    return f"{rate:.9f}B/s"


def format_time(seconds: float) -> str:
    """A time in the largest unit that says it exactly."""
    for name in ("d", "h", "min", "s"):
        amount = seconds / _TIME_UNITS[name]
        if amount >= 1 and amount == int(amount):
            return f"{int(amount)}{name}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _times(digits: str, unit: int) -> int | None:
    """Digits × unit exactly, None when that is not a whole number."""
    whole, _, fraction = digits.partition(".")
    scaled = int(whole + fraction) * unit
    divisor = 10 ** len(fraction)
    return scaled // divisor if scaled % divisor == 0 else None
