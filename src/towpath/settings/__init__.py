"""Typed settings: what every part of a node is told, from a file, the environment and overrides, all checked.

`Settings.load` reads and checks everything before it returns anything, so nothing is ever half-applied. A
later source wins: defaults of the mode, then DIR/config.toml, then the environment (TOWPATH_RELAY__MODE),
then overrides (`--set`).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from towpath.errors import SettingsError
from towpath.settings.schedule import Schedule
from towpath.settings.schema import KEYS, Key
from towpath.settings.values import UNLIMITED, HostPort, TomlValue

__all__ = [
    "UNLIMITED",
    "ClientSettings",
    "CreditsSettings",
    "DiscoverySettings",
    "HostPort",
    "LogSettings",
    "MetricsSettings",
    "NativeSettings",
    "NetworkSettings",
    "RelayMode",
    "RelaySettings",
    "Schedule",
    "Settings",
    "WebSettings",
]

FILE_NAME: Final = "config.toml"
RATE_BEFORE_MEASURED: Final = 250_000.0
"""Bytes per second that `relay.max_rate = auto` stands for until the line's upload was seen."""
_DESCRIPTORS_KEPT: Final = 128


class RelayMode(enum.StrEnum):
    """What a node does for others."""

    CLIENT_ONLY = "client"
    COOPERATIVE = "cooperative"
    DEDICATED_SERVER = "dedicated"

    @property
    def relays(self) -> bool:
        """Does a node in this mode relay for others?"""
        return self is not RelayMode.CLIENT_ONLY


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    pass


class RelaySettings(_Section, frozen=True):
    """`relay.*`. A limit that is None is unlimited; sizes in bytes, rates in bytes per second, times in seconds."""

    mode: RelayMode
    max_bandwidth_per_hour: int | None
    max_bandwidth_per_day: int | None
    max_bandwidth_per_month: int | None
    max_rate: float | Literal["auto"] | None
    only_when_idle: bool
    on_battery: bool
    on_metered: bool
    queue_guard: bool
    schedule: Schedule
    priority_access: bool
    max_reservations: int | None
    max_circuits: int | None
    max_circuits_per_peer: int | None
    max_reservations_per_ip: int | None
    circuit_data: int | None
    circuit_duration: float | None
    reservation_ttl: float
    drain_grace: float | None
    allow: tuple[str, ...]
    deny: tuple[str, ...]


class CreditsSettings(_Section, frozen=True):
    """`credits.*`."""

    enforce: Literal["under_load", "always", "never"]
    free_tier: int | None
    free_tier_refill: float | None
    trust: tuple[str, ...]
    share_digest: bool


class ClientSettings(_Section, frozen=True):
    """`client.*`."""

    use_volunteer_relays: bool
    hide_ip: bool
    allow_direct: Literal["never", "ask", "always"]


class DiscoverySettings(_Section, frozen=True):
    """`discovery.*`."""

    mdns: bool
    dht: bool
    public_dht: bool
    bootstrap: tuple[str, ...]


class NetworkSettings(_Section, frozen=True):
    """`network.*`."""

    listen: tuple[str, ...]
    announce: tuple[str, ...]
    port_mapping: bool
    public_ranges: tuple[str, ...]
    max_connections: int | Literal["auto"] | None
    workers: int

    def connection_limit(self, open_files: int | None) -> int | None:
        """How many connections may be open, given the process's limit of open files (None: there is none)."""
        if self.max_connections != "auto":
            return self.max_connections
        return None if open_files is None else max(16, open_files - _DESCRIPTORS_KEPT)


class NativeSettings(_Section, frozen=True):
    """`native.*`."""

    aead: Literal["auto", "libsodium", "openssl"]


class WebSettings(_Section, frozen=True):
    """`web.*`."""

    listen: HostPort | None
    names: tuple[str, ...]
    certificate: str | None
    certificate_key: str | None
    without_tls: bool


class MetricsSettings(_Section, frozen=True):
    """`metrics.*`."""

    listen: HostPort | None


class LogSettings(_Section, frozen=True):
    """`log.*`."""

    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "text", "json"]
    addresses: bool


_SECTIONS: Final[dict[str, type[_Section]]] = {
    "relay": RelaySettings,
    "credits": CreditsSettings,
    "client": ClientSettings,
    "discovery": DiscoverySettings,
    "network": NetworkSettings,
    "native": NativeSettings,
    "web": WebSettings,
    "metrics": MetricsSettings,
    "log": LogSettings,
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a node. Immutable; `changed` gives another one."""

    relay: RelaySettings
    credits: CreditsSettings
    client: ClientSettings
    discovery: DiscoverySettings
    network: NetworkSettings
    native: NativeSettings
    web: WebSettings
    metrics: MetricsSettings
    log: LogSettings
    given: dict[str, tuple[Any, str]]
    """What was set rather than left to its default: key → checked value and where it was set."""

    @classmethod
    def load(
        cls,
        overrides: Mapping[str, object] | None = None,
        *,
        data: Path | None = None,
        environ: Mapping[str, str] | None = None,
        source: str = "an override",
    ) -> Settings:
        """Settings from config.toml in `data` (if given), `environ` (default: the process's) and
        `overrides` by key.

        Raises SettingsError for the first key or value that is wrong, naming `source` for an override.
        """
        given: dict[str, tuple[Any, str]] = {}
        if data is not None:
            path = data / FILE_NAME
            for name, value in _read_file(path).items():
                given[name] = (_check(name, value, str(path)), str(path))
        for variable, text in sorted((os.environ if environ is None else environ).items()):
            if variable.startswith("TOWPATH_") and "__" in variable:
                name = variable.removeprefix("TOWPATH_").lower().replace("__", ".", 1)
                where = f"environment {variable}"
                given[name] = (_check(name, text, where), where)
        for name, value in (overrides or {}).items():
            given[name] = (_check(name, value, source), source)
        return cls._build(given)

    @classmethod
    def _build(cls, given: dict[str, tuple[Any, str]]) -> Settings:
        mode = RelayMode(given["relay.mode"][0] if "relay.mode" in given else KEYS["relay.mode"].default("client"))
        sections: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
        for key in KEYS.values():
            section, _, name = key.name.partition(".")
            sections[section][name] = given[key.name][0] if key.name in given else key.default(mode)
        sections["relay"]["mode"] = mode
        built = {section: _SECTIONS[section](**values) for section, values in sections.items()}
        return cls(**built, given=given)  # type: ignore[arg-type]

    def changed(self, changes: Mapping[str, object], *, source: str = "a change") -> Settings:
        """These settings with some keys set anew, or with None given back to their defaults, which follow the mode.

        Raises SettingsError.
        """
        given = dict(self.given)
        for name, value in changes.items():
            if value is None:
                given.pop(_known(name, value, source).name, None)
            else:
                given[name] = (_check(name, value, source), source)
        return self._build(given)

    def get(self, name: str) -> Any:
        """The value of a key; SettingsError when there is no such key."""
        _known(name, "", "")
        section, _, field = name.partition(".")
        return getattr(getattr(self, section), field)

    def written(self, name: str) -> TomlValue:
        """The value of a key as it would stand in the file."""
        value = self.get(name)
        return KEYS[name].kind.write(value)

    def source(self, name: str) -> str:
        """Where the value of a key comes from."""
        return self.given[name][1] if name in self.given else "default"

    def without_effect_yet(self) -> list[Key]:
        """The keys that somebody set although this version only checks them; unlimited and none ask for nothing."""
        return [KEYS[name] for name in self.given if KEYS[name].later and self.get(name) is not None]


def _check(name: str, value: object, source: str) -> Any:
    """The checked value of a key, or SettingsError."""
    key = _known(name, value, source)
    try:
        return key.kind.read(value)
    except ValueError as e:
        raise SettingsError(name, value, str(e), source=source) from e


def _known(name: str, value: object, source: str) -> Key:
    key = KEYS.get(name)
    if key is None:
        nearest = _nearest(name)
        hint = f"it takes {KEYS[nearest].kind.allowed}; `towpath config show` lists every key"
        raise SettingsError(name, value, hint, nearest=nearest, source=source)
    return key


def _nearest(name: str) -> str:
    import difflib

    lowered = name.lower()
    by_ratio = difflib.get_close_matches(lowered, KEYS, n=1, cutoff=0.6)
    if by_ratio:
        return str(by_ratio[0])
    # A right name in a wrong section, or without one.
    last = {key.partition(".")[2]: key for key in KEYS}
    found = difflib.get_close_matches(lowered.rpartition(".")[2], last, n=1, cutoff=0.0)
    return str(last[found[0]])


def _read_file(path: Path) -> dict[str, object]:
    """The keys and values in a file; none when there is no file."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as e:
        raise SettingsError(FILE_NAME, str(path), f"the file cannot be read: {e.strerror}") from e
    import tomllib

    try:
        tables = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise SettingsError(FILE_NAME, str(path), f"the file is not TOML: {e}") from e
    return flatten(tables)


def flatten(tables: Mapping[str, object]) -> dict[str, object]:
    """`{"relay": {"mode": …}}` as `{"relay.mode": …}`; what is no table keeps its name and is refused
    later.
    """
    out: dict[str, object] = {}
    for section, table in tables.items():
        if isinstance(table, Mapping):
            for name, value in table.items():
                if isinstance(value, Mapping):
                    out.update({f"{section}.{name}.{deeper}": v for deeper, v in value.items()})
                    continue
                out[f"{section}.{name}"] = value
        else:
            out[section] = table
    return out
