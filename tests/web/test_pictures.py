"""Every page, light and dark, wide and on a phone: nothing cut off, nothing unfinished; and the pictures in docs/.

`TOWPATH_PICTURES=docs/screenshots ./dev test tests/web/test_pictures.py` takes those anew; else they go to a folder of
the test's.
"""

import base64
import os
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.web.company import have_company
from tests.web.conftest import BeginTraffic, StartNode
from tests.web.past import give_a_month
from tests.web.watched import PAGES, PATIENCE, PHONE, WIDE, Watched, opened

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.slow, pytest.mark.timeout(240)]

SIZES = {"wide": WIDE, "phone": PHONE}
WANTED = os.environ.get("TOWPATH_PICTURES")
_MOST = 150_000
"""Bytes of a picture."""
_TALLEST = 2000
"""Pixels of one: the list of every setting is longer than anybody looks at."""

_FLAWS = (Path(__file__).parent / "flaws.js").read_text("utf-8")


async def test_every_page_fits_its_screen_and_leaves_nothing_unfinished(
    start_node: StartNode,
    browser: Browser,
    begin_traffic: BeginTraffic,
    tmp_path: Path,
) -> None:
    other = start_node()
    node = start_node(settings={"discovery.bootstrap": other.process.ready["listen"][0]})
    await have_company(node, other, tmp_path)
    await give_a_month(node.data)
    node.start()
    traffic = await begin_traffic(node)
    await traffic.open(24, per_pair=3)
    traffic.flow(110_000)
    folder = Path(WANTED) if WANTED else tmp_path / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    flaws = []
    # Two of the four show every page in each theme and at each size.
    looks = [("light", "wide"), ("dark", "phone"), ("dark", "wide"), ("light", "phone")]
    for theme, size in looks if WANTED else looks[:2]:
        async with opened(browser, node, theme=theme, size=SIZES[size]) as watched:
            await watched.open()
            for name in (*PAGES, "welcome"):
                await _go(watched, name)
                flaws += [f"{name}, {theme}, {size}: {flaw}" for flaw in await watched.page.evaluate(_FLAWS)]
                taken = await _picture(watched)
                assert len(taken) < _MOST, f"{name}, {theme}, {size} has {len(taken)} bytes"
                (folder / f"{name}-{theme}-{size}.webp").write_bytes(taken)
            assert watched.complaints == []
    assert flaws == []


async def _go(watched: Watched, name: str) -> None:
    if name == "welcome":
        await watched.page.evaluate("location.hash = '#/welcome'")
        await watched.page.wait_for_selector(".welcome h1")
        return
    await watched.go(name)
    if name == "home":
        await expect(watched.page.get_by_text("peers signed receipts")).to_be_visible(timeout=PATIENCE)
        await expect(watched.page.get_by_text("Active", exact=True)).to_be_visible(timeout=PATIENCE)
    if name == "ledger":
        for tile in ("earned", "spent"):
            figure = watched.page.locator(f"[data-tile={tile}] dd")
            await expect(figure).to_have_text(re.compile(r"^[1-9]"), timeout=PATIENCE)
    if name == "traffic":
        await watched.page.get_by_label("24 hours", exact=True).check()
        await expect(watched.page.locator("[data-fact=circuits]")).to_be_visible(timeout=PATIENCE)
    if name == "circuits":
        # A rate is known when a circuit was seen twice.
        rate = watched.page.locator("tbody tr:not(.space) td:nth-child(4)").first
        await expect(rate).not_to_have_text("…", timeout=PATIENCE)
    await watched.settled()


async def _picture(watched: Watched) -> bytes:
    page = watched.page
    session = await page.context.new_cdp_session(page)
    height = min(_TALLEST, await page.evaluate("document.documentElement.scrollHeight"))
    width = await page.evaluate("document.documentElement.clientWidth")
    taken = await session.send(
        "Page.captureScreenshot",
        {
            "format": "webp",
            "quality": 70,
            "captureBeyondViewport": True,
            "clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
        },
    )
    await session.detach()
    return base64.b64decode(taken["data"])
