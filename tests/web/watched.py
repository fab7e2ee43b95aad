"""A page in the browser, and its complaints: what its console says, whom it asks, what fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response

from tests.web.chromium import axe_source
from tests.web.running import PageNode

__all__ = ["PAGES", "PATIENCE", "PHONE", "WIDE", "Watched", "opened"]

PATIENCE: Final = 30_000.0
"""Milliseconds for whatever is waited for."""
WIDE: Final = (1280, 800)
PHONE: Final = (390, 844)
PAGES: Final = ("home", "traffic", "circuits", "limits", "relays", "ledger", "health", "settings")
_LOCAL: Final = ("data:", "blob:", "about:", "chrome-error:")
_RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Watched:
    """A page of a node. `complaints` is empty while all is well."""

    def __init__(self, page: Page, node: PageNode) -> None:
        self.page = page
        self.node = node
        self.complaints: list[str] = []
        self._away = False
        self._refused: set[int] = set()
        self._under_way: set[Request] = set()
        self._quiet = asyncio.Event()
        page.set_default_timeout(PATIENCE)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", self._asked)
        page.on("requestfailed", self._failed)
        page.on("requestfinished", self._ended)
        page.on("response", self._answered)

    async def open(self, name: str | None = "home", *, token: bool = True) -> None:
        """Goes where `towpath web` leads, and on to one of the pages if one is named; returns when that is there."""
        await self.page.goto(self.node.address if token else self.node.url)
        if name is not None:
            await self.go(name)

    async def go(self, name: str) -> None:
        """To one of the pages; returns when all that it asked for is there."""
        await self.page.evaluate("name => { location.hash = `#/${name}` }", name)
        await self.page.wait_for_selector(f"a.nav-link[href='#/{name}'][aria-current='page']", state="attached")
        await self.page.wait_for_selector("main h1")
        await self.settled()

    async def settled(self) -> None:
        """Returns when nothing but the stream of events is under way, and what came is drawn."""
        async with asyncio.timeout(PATIENCE / 1000):
            while True:
                await self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
                if not self._under_way:
                    return
                await self._quiet.wait()

    async def axe(self) -> list[str]:
        """What axe-core finds, one line each."""
        if not await self.page.evaluate("typeof window.axe === 'object'"):
            await self.page.evaluate(axe_source())
        options = {"runOnly": {"type": "tag", "values": _RULES}, "resultTypes": ["violations"]}
        found: dict[str, Any] = await self.page.evaluate("options => axe.run(document, options)", options)
        return [
            f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    @contextlib.contextmanager
    def node_away(self) -> Iterator[None]:
        """Meanwhile the node cannot be asked, which is no fault of the page's."""
        self._away = True
        try:
            yield
        finally:
            self._away = False

    @contextlib.contextmanager
    def refusing(self, *statuses: int) -> Iterator[None]:
        """Meanwhile the node may answer with these statuses."""
        before, self._refused = self._refused, set(statuses)
        try:
            yield
        finally:
            self._refused = before

    def _said(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        # What the network did is judged by its requests.
        if "Failed to load resource" not in message.text:
            self.complaints.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.node.url}/", *_LOCAL)):
            self.complaints.append(f"it asked {request.url}")

        if not request.url.startswith(f"{self.node.url}/v1/events"):
            self._under_way.add(request)
            self._quiet.clear()

    def _ended(self, request: Request) -> None:
        self._under_way.discard(request)
        if not self._under_way:
            self._quiet.set()

    def _failed(self, request: Request) -> None:
        self._ended(request)
        # A stream that the page itself lets go of, or that ends as the page does, is aborted.
        if not self._away and request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.method} {request.url} failed: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self._refused:
            self.complaints.append(f"{response.request.method} {response.url} was answered {response.status}")


@contextlib.asynccontextmanager
async def opened(
    browser: Browser,
    node: PageNode,
    *,
    theme: str = "light",
    size: tuple[int, int] = WIDE,
    visited: bool = True,
    locale: str = "en-GB",
) -> AsyncIterator[Watched]:
    """A browser of its own that has not been anywhere; unless `visited` is false it had its first visit's steps."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        locale=locale,
        timezone_id="Europe/Berlin",
    )
    if visited:
        await context.add_init_script("try { localStorage.setItem('towpath.welcomed', 'true') } catch {}")
    page = await context.new_page()
    try:
        yield Watched(page, node)
    finally:
        await context.close()
