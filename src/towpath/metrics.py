"""What Prometheus is told: a table of metrics, each read from the node when it is asked for.

prometheus-client is loaded at the first scrape, in a thread: most nodes are never scraped.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple, Protocol

from towpath import __version__

__all__ = ["METRICS", "Measured", "Metric", "Metrics"]

Samples = list[tuple[dict[str, str], float]]
_STATES: Final = ("off", "waiting", "relaying", "draining", "paused")
_MODES: Final = ("client", "cooperative", "dedicated")


class Measured(Protocol):
    """What metrics need of a Node."""

    def status(self) -> dict[str, Any]:
        """See Node."""

    def data_plane(self) -> dict[str, Any]:
        """See Node."""

    def relays(self) -> list[dict[str, Any]]:
        """See Node."""

    def limits(self) -> dict[str, Any]:
        """See Node."""


class _Reading(NamedTuple):
    """What one scrape reads, once."""

    status: dict[str, Any]
    plane: dict[str, Any]
    relays: list[dict[str, Any]]
    limits: dict[str, Any]


class Metric(NamedTuple):
    """One family. Counters are named without `_total`, which the exposition adds."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    read: Callable[[_Reading], Samples]

    @property
    def exposed(self) -> str:
        """The name that queries use."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def _one(read: Callable[[_Reading], float | None]) -> Callable[[_Reading], Samples]:
    def samples(reading: _Reading) -> Samples:
        value = read(reading)
        return [] if value is None else [({}, value)]

    return samples


def _plane(name: str) -> Callable[[_Reading], Samples]:
    return _one(lambda reading: reading.plane.get(name))


def _status(name: str) -> Callable[[_Reading], Samples]:
    return _one(lambda reading: reading.status.get(name))


def _each(label: str, values: tuple[str, ...], field: str) -> Callable[[_Reading], Samples]:
    return lambda reading: [({label: value}, float(reading.status[field] == value)) for value in values]


def _directions(**fields: str) -> Callable[[_Reading], Samples]:
    return lambda reading: [
        ({"direction": label}, reading.plane[field]) for label, field in fields.items() if field in reading.plane
    ]


def _budget(field: str) -> Callable[[_Reading], Samples]:
    return lambda reading: [
        ({"period": row["period"]}, row[field]) for row in reading.status["budget"] if row[field] is not None
    ]


def _relays(reading: _Reading) -> Samples:
    states = [row["state"] for row in reading.relays]
    return [({"state": state}, states.count(state)) for state in ("active", "standby", "candidate", "avoided")]


def _slices(reading: _Reading) -> Samples:
    found: dict[str, float] = reading.plane.get("slice_ns", {})
    quantiles = (("0.5", "p50"), ("0.99", "p99"), ("0.999", "p999"), ("1", "max"))
    return [({"quantile": label}, found[name] / 1e9) for label, name in quantiles if name in found]


_TABLE: Final = (
    Metric("towpath_info", "gauge", "1, with the version", ("version",), lambda _: [({"version": __version__}, 1.0)]),
    Metric("towpath_uptime_seconds", "gauge", "Time since the node started", (), _status("uptime_s")),
    Metric("towpath_mode", "gauge", "1 for the mode the node is in", ("mode",), _each("mode", _MODES, "mode")),
    Metric("towpath_state", "gauge", "1 for the state the relay is in", ("state",), _each("state", _STATES, "state")),
    Metric("towpath_circuits", "gauge", "Circuits that are open", (), _status("circuits_now")),
    Metric("towpath_reservations", "gauge", "Reservations that peers hold here", (), _status("reservations_now")),
    Metric("towpath_connections", "gauge", "Connections that are open", (), _plane("connections")),
    Metric("towpath_relays", "gauge", "Relays this node knows, by state", ("state",), _relays),
    Metric("towpath_circuits_opened", "counter", "Circuits opened", (), _plane("circuits_opened")),
    Metric("towpath_reservations_made", "counter", "Reservations granted", (), _plane("reservations_made")),
    Metric("towpath_requests_refused", "counter", "Requests for circuits refused", (), _plane("requests_refused")),
    Metric("towpath_connections_accepted", "counter", "Connections accepted", (), _plane("accepted")),
    Metric("towpath_handshakes_failed", "counter", "Handshakes that failed", (), _plane("handshakes_failed")),
    Metric(
        "towpath_relayed_bytes",
        "counter",
        "Payload relayed: from the peers that dialed (in), and to them (out)",
        ("direction",),
        _directions(**{"in": "relayed_in", "out": "relayed_out"}),
    ),
    Metric(
        "towpath_socket_bytes",
        "counter",
        "Bytes on all sockets of peers, handshakes and everything",
        ("direction",),
        _directions(received="bytes_read", sent="bytes_sent"),
    ),
    Metric(
        "towpath_counted_bytes",
        "counter",
        "What quotas count: the larger of bytes sent and received on relay sockets; goes on over restarts",
        (),
        _status("bytes_relayed_total"),
    ),
    Metric(
        "towpath_rate_limit_bytes_per_second",
        "gauge",
        "The rate in force for relay sockets; none where it is unlimited",
        (),
        _one(lambda reading: reading.limits["rate"]["limit"]),
    ),
    Metric(
        "towpath_budget_limit_bytes",
        "gauge",
        "Quota of a period: the larger of bytes sent and received on relay sockets; none where it is unlimited",
        ("period",),
        _budget("limit"),
    ),
    Metric("towpath_budget_used_bytes", "gauge", "Used of the quota in this period", ("period",), _budget("used")),
    Metric(
        "towpath_budget_reset_timestamp_seconds",
        "gauge",
        "Unix time at which the next period begins",
        ("period",),
        _budget("resets_at"),
    ),
    Metric(
        "towpath_credits_refused",
        "counter",
        "Circuits and reservations refused for want of credit and free tier",
        (),
        _one(lambda reading: reading.status["credits"].get("refused")),
    ),
    Metric(
        "towpath_credits",
        "gauge",
        "Credits (MiB) of this node's account, faded: earned by relaying, and spent by sending through relays",
        ("kind",),
        lambda reading: [({"kind": kind}, reading.status["credits"][kind]) for kind in ("earned", "spent")],
    ),
    Metric("towpath_queued_bytes", "gauge", "Memory held by what waits to be sent", (), _plane("held")),
    Metric("towpath_queue_limit_bytes", "gauge", "Most that may be held so", (), _plane("budget")),
    Metric("towpath_queue_resets", "counter", "Circuits reset because too much was held", (), _plane("budget_resets")),
    Metric(
        "towpath_loop_slice_seconds",
        "gauge",
        "How long one turn of the data plane takes, by quantile since the start",
        ("quantile",),
        _slices,
    ),
)

METRICS: Final = {metric.exposed: metric for metric in _TABLE}
"""By the name that queries use."""


class Metrics:
    """The exposition of one node's metrics, and of its process's (`towpath_process_*`)."""

    def __init__(self, node: Measured) -> None:
        self._node = node
        self._registry: Any = None

    async def expose(self, accept: str) -> tuple[str, bytes]:
        """The content type and text of a scrape, in the format that an Accept header asks for."""
        client = await asyncio.to_thread(importlib.import_module, "prometheus_client")
        if self._registry is None:
            self._registry = client.CollectorRegistry(auto_describe=False)
            self._registry.register(self)
            client.ProcessCollector(namespace="towpath", registry=self._registry)
        encode, kind = client.exposition.choose_encoder(accept)
        return kind, encode(self._registry)

    def collect(self) -> Iterator[Any]:
        """What prometheus-client asks its collectors for."""
        core = importlib.import_module("prometheus_client.core")
        families = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily}
        node = self._node
        reading = _Reading(node.status(), node.data_plane(), node.relays(), node.limits())
        for metric in _TABLE:
            family = families[metric.kind](metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.read(reading):
                family.add_metric([labels[name] for name in metric.labels], value)
            yield family
