"""`towpath limit`: what relaying may take, and what it took."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from towpath.cli.changing import current, in_words, say, write
from towpath.cli.options import Data, Json
from towpath.cli.output import columns, print_facts, print_json
from towpath.cli.places import data_directory
from towpath.cli.view import COUNTED, budget_lines, rate, signs
from towpath.control.client import ask
from towpath.settings.values import TomlValue

__all__ = ["LIMITS", "limit"]

LIMITS: Final = {
    "rate": "relay.max_rate",
    "hour": "relay.max_bandwidth_per_hour",
    "day": "relay.max_bandwidth_per_day",
    "month": "relay.max_bandwidth_per_month",
    "circuits": "relay.max_circuits",
    "circuits-per-peer": "relay.max_circuits_per_peer",
    "reservations": "relay.max_reservations",
    "reservations-per-ip": "relay.max_reservations_per_ip",
    "circuit-data": "relay.circuit_data",
    "circuit-duration": "relay.circuit_duration",
}
"""The word for each limit, and its setting."""
_SAYS: Final = {
    "rate": "Relayed at most at",
    "hour": "Relayed in an hour at most",
    "day": "Relayed in a day at most",
    "month": "Relayed in a month at most",
    "circuits": "Circuits open at once at most",
    "circuits-per-peer": "Circuits of one peer at once at most",
    "reservations": "Reservations held here at once at most",
    "reservations-per-ip": "Reservations of one address at once at most",
    "circuit-data": "One circuit carries each way at most",
    "circuit-duration": "One circuit lasts at most",
}
_QUOTAS: Final = frozenset(("hour", "day", "month"))
What = Literal[
    "rate",
    "hour",
    "day",
    "month",
    "circuits",
    "circuits-per-peer",
    "reservations",
    "reservations-per-ip",
    "circuit-data",
    "circuit-duration",
]


def limit(
    what: Annotated[What | None, Parameter(show_default=False, help="Which limit. Left out: show all.")] = None,
    value: Annotated[
        str | None,
        Parameter(
            show_default=False,
            help="What it is from now on: 3MB/s or 20Mbit/s for rate; 500MB or 2GiB for hour, day, month and "
            "circuit-data; 30m for circuit-duration; else a number. Or unlimited.",
        ),
    ] = None,
    /,
    *,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show or set what relaying for others may take, at once and for good.

    towpath limit               shows all of them, and what is used
    towpath limit rate 3MB/s    never faster than this
    towpath limit day 5GB       never more than this in a day
    towpath limit month unlimited
    towpath limit circuits 64
    """
    if what is None or value is None:
        _show(data, [what] if what else list(LIMITS), as_json=as_json)
        return
    written = write(data, {LIMITS[what]: value})
    say(written, f"{_SAYS[what]}: {in_words(written.values[LIMITS[what]])}.", as_json=as_json)


def _show(data: Path | None, names: Sequence[str], *, as_json: bool) -> None:
    settings, running = current(data)
    values = {LIMITS[name]: settings[LIMITS[name]]["value"] for name in names}
    now = ask(data_directory(data), "/v1/limits") if running else None
    if as_json:
        print_json({"values": values, "now": now})
        return
    print_facts((name, _value(name, values[LIMITS[name]], now)) for name in names)
    used = [row for row in now["budget"] if row["period"] in names] if now else []
    if used:
        print(f"\nUsed ({COUNTED}):")
        for line in budget_lines(used, columns(), signs(sys.stdout.encoding)):
            print(f"  {line}")
    elif not _QUOTAS.isdisjoint(names):
        print(f"\nA limit of an hour, a day or a month counts {COUNTED}.")
    if not running:
        print("No node is running: these are the limits of the next one.")
    print("Change one with `towpath limit WHAT VALUE`, such as `towpath limit day 5GB`.")


def _value(name: str, value: TomlValue, now: dict[str, Any] | None) -> str:
    text = in_words(value)
    if name == "rate" and now is not None:
        rate_ = now["rate"]
        limit_now = rate(rate_["limit"])
        text += f"   (now {limit_now}: {rate_['why']}; {rate(rate_['received'])} in, {rate(rate_['sent'])} out)"
    return text
