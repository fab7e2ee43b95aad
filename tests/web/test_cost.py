"""What an open page costs the node it shows, beside a closed one, in the same run."""

from __future__ import annotations

import asyncio

import pytest

from tests.web.conftest import BeginTraffic, OpenPage, Record, StartNode
from tests.web.running import PageNode

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.slow,
    pytest.mark.full,
    pytest.mark.timeout(600),
]

CIRCUITS = 500
SECONDS = 20.0
ROUNDS = 3
MOST = 0.005
"""Of a core."""


async def share(node: PageNode) -> float:
    """The share of a core that the node takes for a while."""
    loop = asyncio.get_running_loop()
    began, before = loop.time(), node.process.cpu_seconds()
    await asyncio.sleep(SECONDS)
    return (node.process.cpu_seconds() - before) / (loop.time() - began)


@pytest.mark.parametrize("name", ["home", "circuits", "traffic"])
async def test_an_open_page_costs_its_node_next_to_nothing(
    start_node: StartNode,
    open_page: OpenPage,
    begin_traffic: BeginTraffic,
    record: Record,
    name: str,
) -> None:
    node = start_node()
    traffic = await begin_traffic(node)
    await traffic.open(CIRCUITS, per_pair=250)
    page = await open_page(node, name)
    closed, opened = [], []
    # By turns, so that whatever else the machine does meanwhile meets both.
    for _ in range(ROUNDS):
        await page.page.goto("about:blank")
        closed.append(await share(node))
        await page.open(name)
        opened.append(await share(node))
    cost = sorted(o - c for o, c in zip(opened, closed, strict=True))[ROUNDS // 2]
    record("share_of_a_core", {"closed": closed, "open": opened, "cost": cost})
    assert cost <= MOST, (closed, opened)
