"""Pictures of every page of a node that relays: `python -m tests.web.look FOLDER [PAGE…]`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser

from tests.web.chromium import chromium
from tests.web.company import have_company
from tests.web.past import give_a_month
from tests.web.running import PageNode, Traffic
from tests.web.watched import PAGES, PHONE, WIDE, opened

SIZES = {"wide": WIDE, "phone": PHONE}


async def take(browser: Browser, node: PageNode, folder: Path, pages: tuple[str, ...] = PAGES) -> list[str]:
    """FOLDER/PAGE-THEME-SIZE.png of all of these; what the pages complained of."""
    folder.mkdir(parents=True, exist_ok=True)
    complaints = []
    for theme in ("light", "dark"):
        for size, pixels in SIZES.items():
            async with opened(browser, node, theme=theme, size=pixels) as watched:
                await watched.open()
                for name in pages:
                    await watched.go(name)
                    path = folder / f"{name}-{theme}-{size}.png"
                    await watched.page.screenshot(path=path, full_page=True, animations="disabled")
                complaints += [f"{theme} {size}: {complaint}" for complaint in watched.complaints]
    return complaints


async def _main(folder: Path, pages: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        place = Path(directory)
        other = PageNode(place / "other", mode="cooperative")
        stack.callback(other.stop)
        other.start()
        node = PageNode(place / "node", {"discovery.bootstrap": other.process.ready["listen"][0]}, "cooperative")
        stack.callback(node.stop)
        node.start()
        await have_company(node, other, place)
        await give_a_month(node.data)
        node.start()
        async with chromium() as browser, Traffic(node) as traffic:
            await traffic.open(24, per_pair=3)
            traffic.flow(150_000)
            complaints = await take(browser, node, folder, pages or PAGES)
        sys.stdout.write("".join(f"{complaint}\n" for complaint in complaints))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), tuple(sys.argv[2:])))
