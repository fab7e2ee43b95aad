"""Home and the first visit, as somebody uses them who has never heard of relays."""

from __future__ import annotations

import re
import time

import pytest
from playwright.async_api import expect

from tests.web.conftest import BeginTraffic, OpenPage, StartNode
from tests.web.running import PageNode
from tests.web.watched import PATIENCE, PHONE, Watched

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.slow, pytest.mark.timeout(180)]


async def says(page: Watched, words: str) -> None:
    """Home's sentence on the state begins with these words, sooner or later."""
    await expect(page.page.locator("#state-words")).to_have_text(re.compile(f"^{words}"), timeout=PATIENCE)


async def settled(node: PageNode, key: str, value: object) -> None:
    """The node has this value; a change is answered when it is made."""
    assert (await node.ask("/v1/settings"))[key]["value"] == value


async def test_a_first_visit_is_three_steps_and_comes_once(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node(mode=None)
    page = await open_page(node, None, visited=False)
    here = page.page
    await expect(here.get_by_role("heading", name="Welcome to towpath")).to_be_visible()
    await expect(here.get_by_role("button", name="Next")).to_be_disabled()
    await here.get_by_role("radio", name="Cooperative").check()
    await expect(here.get_by_text("anyone can see that your IP address runs a towpath relay")).to_be_visible()
    await here.get_by_role("button", name="Next").click()
    await expect(here.get_by_role("heading", name="How much of your line may it take?")).to_be_visible()
    await here.get_by_role("switch", name="Let the node choose").uncheck()
    await here.get_by_role("slider").fill("30")
    words = await here.locator("output").inner_text()
    await here.get_by_role("button", name="Next").click()
    await expect(here.get_by_role("heading", name="That is all")).to_be_visible()
    await expect(here.locator("[data-fact=cap]")).to_have_text(words)
    status = await node.ask("/v1/status")
    assert (status["mode"], status["state"]) == ("cooperative", "relaying")
    assert (await node.ask("/v1/limits"))["rate"]["why"] == "relay.max_rate"
    await here.get_by_role("button", name="Open the page").click()
    await says(page, "Ready to help")
    await here.reload()
    await says(page, "Ready to help")


async def test_a_first_visit_to_a_node_that_was_set_up_is_home(start_node: StartNode, open_page: OpenPage) -> None:
    page = await open_page(start_node(), None, visited=False)
    await says(page, "Ready to help")


async def test_the_token_leaves_the_address_and_no_tab_comes_in_without_it(
    start_node: StartNode, open_page: OpenPage
) -> None:
    node = start_node()
    page = await open_page(node)
    assert node.token not in page.page.url
    assert await page.page.evaluate("document.cookie") == ""
    assert node.token not in await page.page.evaluate("JSON.stringify(localStorage)")
    other = await open_page(node, None, token=False)
    await expect(other.page.get_by_role("heading", name="This page needs its key")).to_be_visible()
    wrong = f"{node.url}/#token={'x' * 43}"
    async with other.page.expect_response(lambda answer: answer.url.endswith("/proof")):
        await other.page.evaluate("url => { location.href = url }", wrong)
    await expect(other.page.get_by_role("heading", name="This page needs its key")).to_be_visible()
    await other.page.evaluate("url => { location.href = url }", node.address)
    await says(other, "Ready to help")


async def test_the_mode_is_switched_and_switched_back(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node(mode="client")
    page = await open_page(node)
    await says(page, "Not relaying")
    await page.page.get_by_role("radio", name="Cooperative").check()
    await says(page, "Ready to help")
    await settled(node, "relay.mode", "cooperative")
    await page.page.get_by_role("button", name="Undo").click()
    await says(page, "Not relaying")
    await settled(node, "relay.mode", "client")
    # What is changed elsewhere is shown here.
    await node.ask("/v1/mode", "POST", {"mode": "dedicated"})
    await expect(page.page.get_by_role("radio", name="Dedicated")).to_be_checked()


async def test_a_pause_is_one_press_and_outlives_the_node(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node()
    page = await open_page(node)
    await says(page, "Ready to help")
    await page.page.get_by_role("button", name="Pause").click()
    await page.page.get_by_role("button", name="For 1 hour").click()
    await says(page, "Paused")
    until = (await node.ask("/v1/status"))["until"]
    assert abs(until - time.time() - 3600) < 120
    with page.node_away():
        node.stop()
        await expect(page.page.get_by_text("The node has stopped")).to_be_visible()
        node.start()
        await expect(page.page.get_by_text("The node has stopped")).to_be_hidden()
    await says(page, "Paused")
    assert (await node.ask("/v1/status"))["until"] == until
    await page.page.get_by_role("button", name="Resume").click()
    await says(page, "Ready to help")


async def test_a_node_that_is_killed_is_said_to_be_gone_and_comes_back(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node()
    page = await open_page(node)
    with page.node_away():
        node.kill()
        await expect(page.page.get_by_text("This page comes back by itself")).to_be_visible()
        node.start()
        await expect(page.page.get_by_text("This page comes back by itself")).to_be_hidden()
    traffic = await begin_traffic(node)
    await traffic.open(3)
    await says(page, "Helping: 3 circuits")


async def test_what_is_contributed_is_counted_up(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node()
    page = await open_page(node, size=PHONE)
    tile = page.page.locator("[data-tile=today] dd")
    await expect(tile).to_have_text("Nothing yet")
    traffic = await begin_traffic(node)
    await traffic.open(2)
    await says(page, "Helping: 2 circuits")
    traffic.flow(400_000)
    await expect(tile).to_have_text(re.compile(r"[\d.]+\s?MB"), timeout=PATIENCE)
    await expect(page.page.locator("[data-tile=circuits] dd")).to_have_text("2")
