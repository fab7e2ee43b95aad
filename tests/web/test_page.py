"""The page as people use it, in a real browser on a real node."""

import pytest

from tests.web.conftest import OpenPage, StartNode

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.serial, pytest.mark.timeout(120)]


async def test_it_opens(start_node: StartNode, open_page: OpenPage) -> None:
    node = start_node()
    page = await open_page(node)
    assert "token" not in page.page.url
