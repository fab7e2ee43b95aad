"""Circuits and traffic: what goes through, as it goes; few or thousands."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.peerlab import Refused
from tests.web.conftest import BeginTraffic, OpenPage, Record, StartNode
from tests.web.watched import PATIENCE
from towpath.addresses import peer_id_to_text

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.slow, pytest.mark.timeout(240)]

MANY = (200, pytest.param(2_000, marks=pytest.mark.full))
ROWS = "tbody tr:not(.space)"


async def test_one_circuit_is_closed_and_no_other(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node()
    traffic = await begin_traffic(node)
    await traffic.open(3, per_pair=1)
    page = await open_page(node, "circuits")
    rows = page.page.get_by_role("table", name="Open circuits").locator(ROWS)
    await expect(rows).to_have_count(3)
    button = rows.nth(1).get_by_role("button", name=re.compile("^Close"))
    number = re.search(r"circuit (\d+)", await button.inner_text())
    assert number is not None
    await button.click()
    await expect(rows).to_have_count(2)
    assert int(number[1]) not in [row["id"] for row in await node.ask("/v1/circuits")]


async def test_circuits_that_are_numbered_anew_are_not_taken_for_those_before(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node(settings={"relay.drain_grace": "0s"})
    traffic = await begin_traffic(node)
    await traffic.open(3)
    here = (await open_page(node, "circuits")).page
    rows = here.get_by_role("table", name="Open circuits").locator(ROWS)
    await expect(rows).to_have_count(3)
    await node.ask("/v1/mode", "POST", {"mode": "client"})
    await expect(here.get_by_text("No circuit is open")).to_be_visible()
    # Numbers begin at 1 again when relaying does.
    await node.ask("/v1/mode", "POST", {"mode": "cooperative"})
    dialer, target = await traffic.pair()
    for count in (1, 2):
        await traffic.circuit(dialer, target)
        await expect(rows).to_have_count(count)
    name = target.peer.peer_id
    assert {row["target"] for row in await node.ask("/v1/circuits")} == {peer_id_to_text(name)}
    await expect(rows.get_by_title(peer_id_to_text(name))).to_have_count(2)


async def test_a_blocked_peer_is_gone_and_stays_away(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node()
    traffic = await begin_traffic(node)
    dialer, target = await traffic.pair()
    await traffic.circuit(dialer, target)
    page = await open_page(node, "circuits")
    rows = page.page.get_by_role("table", name="Open circuits").locator(ROWS)
    await rows.first.get_by_role("button", name=re.compile("^Block")).click()
    await page.page.get_by_role("dialog").get_by_role("button", name="Block").click()
    await expect(page.page.get_by_text("No circuit is open")).to_be_visible()
    assert len((await node.ask("/v1/settings"))["relay.deny"]["value"]) == 1
    with pytest.raises(Refused):
        await dialer.connect(target.peer.peer_id)
    # Whoever was turned away is told of, with the reason.
    await expect(page.page.get_by_text("the lists of who may do not let it in").first).to_be_visible()


async def test_a_refused_circuit_is_explained(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node(settings={"relay.max_circuits": "1"})
    traffic = await begin_traffic(node)
    dialer, target = await traffic.pair()
    await traffic.circuit(dialer, target)
    page = await open_page(node, "circuits")
    with pytest.raises(Refused):
        await dialer.connect(target.peer.peer_id)
    await expect(page.page.get_by_text("1 of 1 circuits are open (relay.max_circuits)").first).to_be_visible()
    await page.go("health")
    await expect(page.page.get_by_text("1 of 1 circuits are open (relay.max_circuits)").first).to_be_visible()


async def test_a_refused_reservation_is_explained_too(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node(settings={"relay.max_reservations": "1"})
    traffic = await begin_traffic(node)
    await traffic.pair()
    page = await open_page(node, "circuits")
    _, late = await traffic.peer()
    with pytest.raises(Refused):
        await late.reserve()
    await expect(page.page.get_by_text("(relay.max_reservations)").first).to_be_visible()


@pytest.mark.parametrize("many", MANY)
async def test_thousands_of_circuits_are_light(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic, record: Record, many: int
) -> None:
    node = start_node()
    traffic = await begin_traffic(node)
    await traffic.open(many, per_pair=250)
    page = await open_page(node, "circuits")
    here = page.page
    table = here.get_by_role("table", name="Open circuits")
    await expect(table).to_have_attribute("aria-rowcount", str(many + 1), timeout=PATIENCE)
    assert await table.locator(ROWS).count() <= 100
    # By age, as rates change meanwhile: the order is that of opening.
    await here.get_by_role("button", name="Open for").first.click()
    box = here.locator(".table-scroll").first
    frames = await box.evaluate(
        """box => new Promise(done => {
            const frames = [];
            let last = performance.now();
            let at = 0;
            const step = now => {
                frames.push(now - last);
                last = now;
                at += 1;
                box.scrollTop = box.scrollHeight * at / 60;
                if (at < 60) requestAnimationFrame(step); else done(frames.slice(1));
            };
            requestAnimationFrame(step);
        })"""
    )
    record("scroll_frame_ms", {"median": sorted(frames)[len(frames) // 2], "worst": max(frames)})
    last = table.locator(f"tr[aria-rowindex='{many + 1}']")
    await expect(last).to_be_visible()
    assert await table.locator(ROWS).count() <= 100
    # What changes is drawn in the rows that are there: none is made anew.
    await table.evaluate("table => { for (const row of table.querySelectorAll('tbody tr')) row.mine = true }")
    before = await last.inner_text()
    await expect(last).not_to_have_text(before, timeout=PATIENCE, use_inner_text=True)
    assert await table.evaluate("table => [...table.querySelectorAll('tbody tr')].every(row => row.mine)")


async def test_every_window_of_the_graph_shows_what_was_relayed(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node(settings={"relay.max_rate": "1MB/s"})
    traffic = await begin_traffic(node)
    await traffic.open(2)
    traffic.flow(300_000)
    await traffic.carried(600_000)
    page = await open_page(node, "traffic")
    here = page.page
    await expect(here.locator(".chart canvas")).to_be_visible()
    await expect(here.locator("[data-fact=sent]").first).to_have_text(re.compile(r"\d.*B/s"), timeout=PATIENCE)
    await expect(here.get_by_text(re.compile(r"^Limit: 1\sMB/s"))).to_be_visible()
    for name in ("5 min", "1 hour", "24 hours", "30 days"):
        await here.get_by_label(name, exact=True).check()
        total = here.locator("[data-fact=circuits]")
        await expect(total).to_have_text("2", timeout=PATIENCE)
        drawn = await here.locator(".chart canvas").evaluate(
            """canvas => {
                const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
                return data.some(value => value > 0);
            }"""
        )
        assert drawn, name
    await here.get_by_text("As a table").click()
    await expect(here.locator("details tbody tr").first).to_be_visible()
