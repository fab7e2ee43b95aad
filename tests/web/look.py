"""Pictures of every page of a node that relays: `python -m tests.web.look FOLDER [PAGE…]`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser

from tests.web.chromium import chromium
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
    with tempfile.TemporaryDirectory() as directory:
        node = PageNode(Path(directory), mode="cooperative")
        node.start()
        try:
            async with chromium() as browser, Traffic(node) as traffic:
                await traffic.open(24, per_pair=6)
                traffic.flow(150_000)
                await asyncio.sleep(6)
                complaints = await take(browser, node, folder, pages or PAGES)
            sys.stdout.write("\n".join(complaints) + "\n")
        finally:
            node.stop()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), tuple(sys.argv[2:])))
