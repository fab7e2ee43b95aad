"""What Prometheus is told, and that the dashboard asks for nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.controlled import DoubleNode
from tests.unit.nodes import meeting
from towpath import __version__
from towpath.control.paths import listen, socket_path
from towpath.control.ports import bind
from towpath.control.server import ControlServer
from towpath.errors import TowpathError
from towpath.metrics import METRICS, Metrics
from towpath.settings.values import HostPort

DASHBOARD = Path(__file__).parents[2] / "packaging" / "grafana" / "towpath.json"
OF_THE_PROCESS = {
    "towpath_process_cpu_seconds_total",
    "towpath_process_max_fds",
    "towpath_process_open_fds",
    "towpath_process_resident_memory_bytes",
    "towpath_process_start_time_seconds",
    "towpath_process_virtual_memory_bytes",
}
UNITS = ("_bytes", "_seconds", "_bytes_per_second")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scraped(node: Any, accept: str = "") -> tuple[str, str]:
    kind, text = await Metrics(node).expose(accept)
    return kind, text.decode()


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_every_metric_is_told_with_what_the_node_says() -> None:
    node = DoubleNode()
    node.settings = node.settings.changed({"relay.max_bandwidth_per_day": "5GB", "relay.max_rate": "3MB/s"})
    kind, text = await scraped(node)
    assert kind.startswith("text/plain")
    found = samples(text)
    assert {name for name, _ in found} == set(METRICS) | OF_THE_PROCESS
    assert found["towpath_info", (("version", __version__),)] == 1
    assert found["towpath_circuits", ()] == 2
    assert found["towpath_circuits_opened_total", ()] == 17
    assert found["towpath_counted_bytes_total", ()] == 5e9
    assert found["towpath_rate_limit_bytes_per_second", ()] == 3e6
    assert found["towpath_socket_bytes_total", (("direction", "received"),)] == 7000
    assert found["towpath_relayed_bytes_total", (("direction", "out"),)] == 3000
    assert found["towpath_loop_slice_seconds", (("quantile", "0.99"),)] == pytest.approx(3e-6)
    states = {labels[0][1]: value for (name, labels), value in found.items() if name == "towpath_state"}
    assert states == {"off": 0, "waiting": 0, "relaying": 1, "draining": 0, "paused": 0}


async def test_an_unlimited_quota_has_no_limit_but_a_use() -> None:
    node = DoubleNode()
    node.settings = node.settings.changed({"relay.max_bandwidth_per_day": "5GB"})
    found = samples((await scraped(node))[1])
    limits = [labels for name, labels in found if name == "towpath_budget_limit_bytes"]
    assert limits == [(("period", "day"),)]
    assert found["towpath_budget_used_bytes", (("period", "month"),)] == 5e9
    assert found["towpath_budget_reset_timestamp_seconds", (("period", "hour"),)] == 2e9


async def test_a_second_scrape_reads_anew() -> None:
    node = DoubleNode()
    metrics = Metrics(node)
    await metrics.expose("")
    node.rows = []
    assert samples((await metrics.expose(""))[1].decode())["towpath_circuits", ()] == 0


async def test_who_asks_for_openmetrics_gets_it() -> None:
    kind, text = await scraped(DoubleNode(), "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize("name", METRICS)
def test_names_have_base_units_and_total_on_counters_alone(name: str) -> None:
    metric = METRICS[name]
    assert re.fullmatch(r"towpath_[a-z_]+", name)
    assert name.endswith("_total") == (metric.kind == "counter")
    for word in ("kb", "mb", "bytes", "ms", "ns", "milliseconds", "seconds"):
        if word in name.split("_"):
            assert name.removesuffix("_total").endswith(UNITS)
    assert metric.help


async def test_a_real_relay_is_told_as_well() -> None:
    async with meeting() as met:
        here, there = await met.pair()
        here.write(bytes(100_000))
        await there.readexactly(100_000)
        found = samples((await scraped(met.relay))[1])
    assert found["towpath_circuits", ()] == 1
    assert found["towpath_reservations", ()] == 1
    assert found["towpath_relayed_bytes_total", (("direction", "in"),)] > 100_000
    assert {name for name, _ in found} >= {
        name for name in METRICS if "limit_bytes" not in name and "budget" not in name
    }


async def fetched(place: socket.socket, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(*place.getsockname())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_metrics_alone_are_served_on_tcp(tmp_path: Path) -> None:
    place = bind(HostPort("127.0.0.1", 0), "metrics.listen", move=False)
    server = ControlServer(DoubleNode(), listen(socket_path(tmp_path)), place)
    await server.start()
    try:
        for path, status in (("/metrics", b"200"), ("/v1/status", b"404"), ("/v1/openapi.json", b"404")):
            answer = await fetched(place, path)
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert (b"towpath_circuits 2.0" in answer) == (status == b"200")
    finally:
        await server.stop()


async def test_the_place_of_metrics_is_moved_and_taken_away(tmp_path: Path) -> None:
    server = ControlServer(DoubleNode(), listen(socket_path(tmp_path)))
    await server.start()
    try:
        for _ in range(2):
            place = bind(HostPort("127.0.0.1", 0), "metrics.listen", move=False)
            where = place.getsockname()
            server.move_metrics(place)
            assert b" 200 OK" in await fetched(place, "/metrics")
        server.move_metrics(None)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionRefusedError):
                while True:
                    _, writer = await asyncio.open_connection(*where)
                    writer.close()
    finally:
        await server.stop()


def test_a_taken_port_fails_or_moves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = HostPort(*taken.getsockname())
        with pytest.raises(TowpathError, match=rf"cannot listen on 127\.0\.0\.1:{at.port}: .*; set metrics\.listen"):
            bind(at, "metrics.listen", move=False)
        with bind(at, "metrics.listen", move=True) as moved:
            assert at.port < moved.getsockname()[1] <= at.port + 64


def test_a_place_that_is_not_ours_fails() -> None:
    with pytest.raises(TowpathError, match="set metrics"):
        bind(HostPort("192.0.2.1", 0), "metrics.listen", move=True)


def queries(panel: Any) -> list[str]:
    if isinstance(panel, dict):
        own = [panel["expr"]] if isinstance(panel.get("expr"), str) else []
        return own + [query for value in panel.values() for query in queries(value)]
    return [query for part in panel for query in queries(part)] if isinstance(panel, list) else []


def test_the_dashboard_uses_metrics_that_exist_and_most_of_them() -> None:
    asked = queries(json.loads(DASHBOARD.read_text()))
    used = {name for query in asked for name in re.findall(r"\btowpath_[a-z_]+", query)}
    assert used
    assert used <= set(METRICS) | OF_THE_PROCESS
    assert len(used) > len(METRICS) * 0.6
    for query in asked:
        for name in re.findall(r"rate\((towpath_[a-z_]+)", query):
            assert name.endswith("_total")
        for name, label in re.findall(r"(towpath_[a-z_]+)\{[^}]*?(\w+)=~?\"(?!\$instance)", query):
            assert label in METRICS[name].labels
