"""Nodes, their traffic, and pages in a real browser; a page's complaints fail its test."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.web.chromium import chromium
from tests.web.running import PageNode, Traffic
from tests.web.watched import PATIENCE, Watched, opened

expect.set_options(timeout=PATIENCE)

StartNode = Callable[..., PageNode]
OpenPage = Callable[..., Coroutine[Any, Any, Watched]]
Record = Callable[[str, object], None]
FIGURES = Path(__file__).parents[2] / "build" / "page.jsonl"
"""Where figures go that are recorded and not judged: a line for each."""

BeginTraffic = Callable[[PageNode], Coroutine[Any, Any, Traffic]]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """`record(name, figures)` keeps what was measured."""

    def keep(name: str, figures: object) -> None:
        FIGURES.parent.mkdir(exist_ok=True)
        line = {"test": request.node.name, "at": round(time.time()), name: figures}
        with FIGURES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    return keep


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all of these tests."""
    async with chromium() as found:
        yield found


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[StartNode]:
    """`start_node(mode=…, settings=…)` starts a node; a restart of it is `node.start()`."""
    started: list[PageNode] = []

    def start(mode: str | None = "cooperative", settings: dict[str, str] | None = None) -> PageNode:
        node = PageNode(tmp_path / f"node{len(started)}", settings, mode)
        node.start()
        started.append(node)
        return node

    try:
        yield start
        for node in started:
            node.stop()
    finally:
        for node in started:
            node.kill()


@pytest_asyncio.fixture(loop_scope="package")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """`await open_page(node, "circuits", theme=…, size=…)` gives a Watched page, which must not have complained."""
    async with contextlib.AsyncExitStack() as stack:
        pages: list[Watched] = []

        async def open_(node: PageNode, name: str | None = "home", *, token: bool = True, **how: Any) -> Watched:
            page = await stack.enter_async_context(opened(browser, node, **how))
            pages.append(page)
            await page.open(name, token=token)
            return page

        yield open_
        complaints = [complaint for page in pages for complaint in page.complaints]
    assert complaints == []


@pytest_asyncio.fixture(loop_scope="package")
async def begin_traffic() -> AsyncIterator[BeginTraffic]:
    """`await begin_traffic(node)` gives the peers that meet through it."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(node: PageNode) -> Traffic:
            return await stack.enter_async_context(Traffic(node))

        yield begin
