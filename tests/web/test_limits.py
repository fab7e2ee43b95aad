"""Limits and the week: what is set on the page holds on the line."""

from __future__ import annotations

import re
import time

import pytest
from playwright.async_api import Locator, expect

from tests.peerlab import asked_until
from tests.web.conftest import BeginTraffic, OpenPage, StartNode
from tests.web.running import PageNode
from tests.web.watched import PHONE

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.slow, pytest.mark.timeout(180)]

MONDAY, TUESDAY, SUNDAY = 0, 24, 144


async def has(node: PageNode, key: str, value: object) -> None:
    """The node comes to have this value."""

    async def is_so() -> bool:
        return bool((await node.ask("/v1/settings"))[key]["value"] == value)

    await asked_until(is_so, f"{key} to be {value}", 30)


async def moved(node: PageNode) -> int:
    """What has gone out of the relay's sockets."""
    found = await node.ask("/v1/traffic?window=5m")
    return sum(row["sent"] for row in found)


async def test_the_line_obeys_the_slider(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node(settings={"relay.max_rate": "8MB/s", "relay.queue_guard": "false"})
    page = await open_page(node, "limits")
    traffic = await begin_traffic(node)
    await traffic.open(4)
    traffic.flow(2_000_000)
    await traffic.carried(1_000_000)
    slider = page.page.get_by_role("slider", name="Never faster than")
    await slider.focus()
    await slider.press("Home")
    words = await slider.get_attribute("aria-valuetext")
    assert words is not None
    assert re.fullmatch(r"50\s?kB/s", words)
    await has(node, "relay.max_rate", "50kB/s")
    # What the bucket held goes at once; from then on a second brings no more than the slider says.
    before, began = await moved(node), time.monotonic()
    await traffic.carried(traffic.sent + 150_000)
    took, sent = time.monotonic() - began, await moved(node) - before
    assert sent <= 50_000 * (took + 2) * 1.1
    assert sent >= 100_000
    await page.page.get_by_role("button", name="Undo").first.click()
    await has(node, "relay.max_rate", "8MB/s")
    await traffic.carried(traffic.sent + 3_000_000)


async def test_an_amount_is_set_and_a_wrong_one_is_explained(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node()
    page = await open_page(node, "limits")
    field = page.page.get_by_role("textbox", name="In an hour")
    await expect(field).to_have_value("500")
    await field.fill("750")
    await field.press("Tab")
    await has(node, "relay.max_bandwidth_per_hour", "750MB")
    with page.refusing(422):
        await field.fill("much")
        await field.press("Tab")
        await expect(page.page.get_by_role("alert").filter(has_text="a size such as 500MB")).to_be_visible()
    await has(node, "relay.max_bandwidth_per_hour", "750MB")


def slot(grid: Locator, at: int) -> Locator:
    """One hour of the week, hour 0 of Monday first."""
    return grid.locator(f"[data-at='{at}']")


async def test_the_week_is_painted_with_the_mouse(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node()
    page = await open_page(node, "limits")
    grid = page.page.get_by_role("grid", name="Hours of the week")
    await grid.scroll_into_view_if_needed()
    await slot(grid, MONDAY + 9).hover()
    await page.page.mouse.down()
    await slot(grid, MONDAY + 12).hover()
    await slot(grid, TUESDAY + 16).hover()
    await page.page.mouse.up()
    await has(node, "relay.schedule", ["mon 09-17 off", "tue 09-17 off"])
    # Over what is painted the same brush takes it away.
    await slot(grid, TUESDAY + 12).click()
    await has(node, "relay.schedule", ["mon 09-17 off", "tue 09-12 off", "tue 13-17 off"])
    await page.page.get_by_role("radio", name="Slower").check()
    await page.page.get_by_title("Paint all of Sunday").click()
    await has(node, "relay.schedule", ["mon 09-17 off", "tue 09-12 off", "tue 13-17 off", "sun 00-24 500kB/s"])
    await page.page.get_by_role("button", name="Open every hour").click()
    await has(node, "relay.schedule", "open")


async def test_the_week_is_painted_by_keyboard(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node()
    page = await open_page(node, "limits")
    grid = page.page.get_by_role("grid", name="Hours of the week")
    # One stop for Tab, from where arrows go on.
    assert await grid.locator("[tabindex='0']").count() == 1
    await slot(grid, 0).focus()
    press = page.page.keyboard.press
    await press("Space")
    await has(node, "relay.schedule", ["mon 00-01 off"])
    await press("ArrowDown")
    await press("ArrowRight")
    await expect(slot(grid, TUESDAY + 1)).to_be_focused()
    await page.page.keyboard.down("Shift")
    await press("ArrowRight")
    await press("ArrowRight")
    await page.page.keyboard.up("Shift")
    await has(node, "relay.schedule", ["mon 00-01 off", "tue 01-04 off"])
    await press("Control+End")
    await expect(slot(grid, SUNDAY + 23)).to_be_focused()
    name = await slot(grid, SUNDAY + 23).get_attribute("aria-label")
    assert name is not None
    assert name.startswith("Sunday, 23:00")
    await press("Enter")
    await has(node, "relay.schedule", ["mon 00-01 off", "tue 01-04 off", "sun 23-24 off"])


async def test_the_week_stands_upright_on_a_phone(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node()
    page = await open_page(node, "limits", size=PHONE)
    grid = page.page.get_by_role("grid", name="Hours of the week")
    await slot(grid, 0).focus()
    await page.page.keyboard.press("ArrowDown")
    await expect(slot(grid, 1)).to_be_focused()
    await page.page.keyboard.press("ArrowRight")
    await expect(slot(grid, TUESDAY + 1)).to_be_focused()
    await page.page.keyboard.press("Space")
    await has(node, "relay.schedule", ["tue 01-02 off"])
