"""The other pages: settings, the ledger, health and log; and what holds for all of them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.web.conftest import BeginTraffic, OpenPage, Record, StartNode
from tests.web.watched import PAGES, PHONE
from towpath import Node, Settings, Stream
from towpath.settings.schema import KEYS

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.slow, pytest.mark.timeout(240)]


async def test_every_setting_is_there_and_one_is_changed_and_taken_back(
    start_node: StartNode, open_page: OpenPage
) -> None:
    node = start_node()
    page = await open_page(node, "settings")
    here = page.page
    await expect(here.locator(".setting")).to_have_count(len(KEYS))

    async def value(key: str) -> object:
        return (await node.ask("/v1/settings"))[key]["value"]

    await here.get_by_label("Log network addresses").check()
    await expect(here.get_by_text("Saved.")).to_be_visible()
    assert await value("log.addresses") is True
    await here.get_by_role("button", name="Undo").click()
    await expect(here.get_by_label("Log network addresses")).not_to_be_checked()
    assert await value("log.addresses") is False

    field = here.get_by_label("Time for circuits to end")
    await field.fill("90s")
    await field.press("Enter")
    row = here.locator("[data-key='relay.drain_grace']")
    await row.get_by_role("button", name="Back to default").click()
    await expect(field).to_have_value("1min")
    assert await value("relay.drain_grace") == "1min"


async def test_a_wrong_value_is_explained_and_nothing_is_changed(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node()
    page = await open_page(node, "settings")
    field = page.page.get_by_label("Longest circuit")
    with page.refusing(422):
        await field.fill("soon")
        await field.press("Enter")
        await expect(page.page.get_by_role("alert").filter(has_text="a time such as 90s")).to_be_visible()
    assert (await node.ask("/v1/settings"))["relay.circuit_duration"]["value"] == "unlimited"


async def test_settings_are_found_by_a_word_and_say_what_needs_a_restart(
    start_node: StartNode, open_page: OpenPage
) -> None:
    page = await open_page(start_node(), "settings")
    here = page.page
    await here.get_by_role("searchbox").fill("web.listen")
    await expect(here.locator(".setting:visible")).to_have_count(1)
    await expect(here.locator(".setting:visible")).to_contain_text("Needs a restart")
    await here.get_by_role("searchbox").fill("no such thing")
    await expect(here.get_by_text("No setting is like that.")).to_be_visible()
    await here.get_by_role("searchbox").fill("")
    await here.get_by_label("Only changed ones").check()
    await expect(here.locator("[data-key='relay.max_circuits']")).to_be_visible()
    await expect(here.locator("[data-key='log.addresses']")).to_be_hidden()


async def test_the_doctors_findings_come_with_what_to_do(start_node: StartNode, open_page: OpenPage) -> None:
    page = await open_page(start_node(), "health")
    here = page.page
    await expect(here.get_by_text(re.compile(r"^It found|^All is well"))).to_be_visible()
    await expect(here.get_by_text(re.compile(r"^\d+ things are well"))).to_be_visible()
    await here.get_by_role("button", name="Look again").click()
    await expect(here.get_by_role("button", name="Look again")).to_be_enabled()


async def test_what_the_node_can_mend_itself_takes_one_press(start_node: StartNode, open_page: OpenPage) -> None:
    # Of no effect yet, which is found on any machine.
    node = start_node(settings={"network.workers": "2"})
    here = (await open_page(node, "health")).page
    found = here.get_by_role("listitem").filter(has_text="network.workers is set")
    await found.get_by_role("button", name="Give network.workers back to its default").click()
    await expect(found).to_have_count(0)
    assert (await node.ask("/v1/settings"))["network.workers"]["value"] == 1
    await here.get_by_role("button", name="Undo").click()
    await expect(here.get_by_text("Saved.")).to_be_visible()
    await here.get_by_role("button", name="Look again").click()
    await expect(found).to_have_count(1)


async def test_the_log_is_filtered_and_goes_on_by_itself(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node()
    page = await open_page(node, "health")
    here = page.page
    log = here.locator(".log li")
    await expect(log.filter(has_text="Relaying: relay mode is on")).to_have_count(1)
    await node.ask("/v1/settings", "PATCH", {"relay.max_circuits": 77})
    await expect(log.filter(has_text="relay.max_circuits is 77")).to_have_count(1)
    await here.get_by_label("Relaying", exact=True).check()
    await expect(log.filter(has_text="relay.max_circuits is 77")).to_have_count(0)
    await here.get_by_label("All", exact=True).check()
    await here.get_by_role("searchbox", name="Show only events").fill("is 77")
    await expect(log).to_have_count(1)


async def test_a_ledger_with_nobody_in_it_says_so(start_node: StartNode, open_page: OpenPage) -> None:
    page = await open_page(start_node(), "ledger")
    await expect(page.page.get_by_text("Nothing was exchanged with anybody yet.")).to_be_visible()


async def test_the_ledger_says_what_was_earned_and_why_somebody_is_accepted(
    start_node: StartNode, open_page: OpenPage, tmp_path: Path
) -> None:
    node = start_node(settings={"relay.max_rate": "unlimited", "relay.queue_guard": "false"})
    relay, megabytes = node.process.addresses[0], 8
    settings = Settings.load({"discovery.mdns": False, "discovery.dht": False}, environ={})
    arrived = asyncio.Event()

    async def take(stream: Stream) -> None:
        async with stream:
            await stream.readexactly(megabytes * 1_000_000)
            arrived.set()

    # Whoever sends has an account, and signs for what it sends.
    async with (
        Node(settings, data=tmp_path / "a", reachable=False) as alice,
        Node(settings, data=tmp_path / "b", reachable=False) as bob,
    ):
        bob.set_stream_handler("/take/1", take)
        await bob.reserve(relay)
        stream = await alice.connect_to_peer_via_relay(bob.peer_id, "/take/1", via=relay)
        for _ in range(megabytes):
            stream.write(bytes(1_000_000))
            await stream.drain()
        await asyncio.wait_for(arrived.wait(), 30)
        page = await open_page(node, "ledger")
        earned = page.page.locator("[data-tile=earned] dd")
        await expect(earned).to_have_text(re.compile(r"^[1-9][\d.]*$"))
        rows = page.page.locator("li[data-peer]")
        await expect(rows.filter(has_text="127.0.0.0/24")).to_have_count(1)
        signed = rows.filter(has_text=re.compile(r"8(\.\d+)?\sMB carried")).filter(has_text="Account")
        await signed.get_by_text("Why").click()
        await expect(signed.get_by_text(re.compile("^It signed for"))).to_be_visible()
        await expect(signed.get_by_text(re.compile("^Accepted"))).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_on_any_page(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic, theme: str
) -> None:
    node = start_node(settings={"relay.max_rate": "1MB/s"})
    traffic = await begin_traffic(node)
    await traffic.open(12, per_pair=3)
    wide = await open_page(node, theme=theme)
    found = {}
    for name in PAGES:
        await wide.go(name)
        found[name] = await wide.axe()
    first = await open_page(start_node(mode=None), None, theme=theme, visited=False, size=PHONE)
    await expect(first.page.get_by_role("heading", name="Welcome to towpath")).to_be_visible()
    found["welcome"] = await first.axe()
    if theme == "light":
        phone = await open_page(node, theme=theme, size=PHONE)
        for name in ("home", "settings"):
            await phone.go(name)
            found[f"{name} on a phone"] = await phone.axe()
    assert {name: flaws for name, flaws in found.items() if flaws} == {}


async def test_all_of_it_is_small_and_soon_there(start_node: StartNode, open_page: OpenPage, record: Record) -> None:
    page = await open_page(start_node(), None)
    await expect(page.page.locator("#state-words")).to_have_text(re.compile("^Ready to help"))
    interactive = await page.page.evaluate("performance.now()")
    for name in PAGES:
        await page.go(name)
    entries = await page.page.evaluate(
        """performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
            .filter(entry => !entry.name.includes('/v1/')).map(entry => [entry.name, entry.encodedBodySize])"""
    )
    size = sum(dict(entries).values())
    record("loading", {"interactive_ms": round(interactive), "files": len(dict(entries)), "bytes": size})
    assert 0 < size <= 250_000


async def test_every_page_is_reached_by_keyboard(start_node: StartNode, open_page: OpenPage) -> None:
    page = await open_page(start_node())
    here = page.page
    await here.keyboard.press("Tab")
    await expect(here.get_by_role("link", name="Skip")).to_be_focused()
    for name in PAGES[1:]:
        await here.locator(f"a.nav-link[href='#/{name}']").focus()
        await here.keyboard.press("Enter")
        await here.wait_for_selector(f"a.nav-link[href='#/{name}'][aria-current='page']")
        # Who hears the page is taken to its head.
        await expect(here.locator("main")).to_be_focused()
    await here.go_back()
    await here.wait_for_selector(f"a.nav-link[href='#/{PAGES[-2]}'][aria-current='page']")


async def test_numbers_are_written_as_in_the_readers_country(
    start_node: StartNode, open_page: OpenPage, begin_traffic: BeginTraffic
) -> None:
    node = start_node()
    traffic = await begin_traffic(node)
    await traffic.open(2)
    traffic.flow(200_000)
    page = await open_page(node, locale="de-DE")
    await expect(page.page.locator("[data-tile=today] dd")).to_have_text(re.compile(r"\d,\d+\s?MB"), timeout=30_000)


async def test_tabs_that_nobody_sees_leave_the_browser_its_connections(
    start_node: StartNode, open_page: OpenPage
) -> None:
    node = start_node()
    first = await open_page(node)
    # A browser has six connections with a server, and a stream of events takes one for as long as it is followed.
    tabs = [await first.page.context.new_page() for _ in range(6)]
    for tab in tabs:
        await tab.goto(node.address)
        await tab.evaluate(
            """() => {
                Object.defineProperty(document, "hidden", { get: () => window.unseen, configurable: true });
                window.unseen = true;
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
    last = await first.page.context.new_page()
    await last.goto(node.address)
    await expect(last.locator("#state-words")).to_have_text(re.compile("^Ready to help"))
    # Who comes back to one finds it as it is now.
    await node.ask("/v1/mode", "POST", {"mode": "client"})
    await tabs[0].evaluate("window.unseen = false; document.dispatchEvent(new Event('visibilitychange'))")
    await expect(tabs[0].locator("#state-words")).to_have_text("Not relaying")
    await expect(tabs[0].locator(".banner")).to_be_hidden()
