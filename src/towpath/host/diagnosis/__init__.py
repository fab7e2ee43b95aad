"""What may be wrong with a node and its machine, and what to do about it. Blocking; for the command line.

One module a subject. In each, functions that look (`check_…`) hand what they saw to functions that judge it, which
are pure. `diagnose` has the order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from towpath.errors import SettingsError
from towpath.host.diagnosis.clock import check_clock
from towpath.host.diagnosis.disk import check_database, check_disk
from towpath.host.diagnosis.finding import Finding, Running, ok, problem, warning
from towpath.host.diagnosis.keys import check_keys
from towpath.host.diagnosis.limits import check_limits
from towpath.host.diagnosis.network import check_network
from towpath.host.diagnosis.ports import check_ports
from towpath.host.diagnosis.software import check_software
from towpath.settings import Settings

__all__ = ["Finding", "Running", "diagnose"]


def diagnose(data: Path, running: Running | None) -> Iterator[Finding]:
    """Everything that can be said of the node on `data`; `running`: what the node said, None when none runs."""
    try:
        settings = Settings.load(data=data)
    except SettingsError as e:
        advice = "correct that; until then the node does not start, and the rest is judged by defaults"
        yield problem("settings", str(e), advice)
        settings = Settings.load(environ={})
    if running is not None:
        settings = running.settings
    yield from check_settings(settings)
    yield from check_keys(data)
    yield from check_disk(data)
    yield from check_database(data, in_use=running is not None)
    yield from check_ports(settings, running)
    yield from check_network(settings)
    yield from check_clock(data, running)
    yield from check_limits(settings, running)
    yield from check_software(settings)


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Settings that are right but do nothing."""
    later = settings.without_effect_yet()
    for key in later:
        yield warning(
            "settings",
            f"{key.name} is set, but this version does not act on it",
            f"{settings.source(key.name)} sets it",
            settings={key.name: None},
        )
    if not later:
        given = ", ".join(sorted(settings.given)) or "nothing"
        yield ok("settings", f"relay.mode is {settings.relay.mode}; not left to defaults: {given}")
