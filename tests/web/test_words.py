"""The page's texts: one file, in which every text that is used stands, and none that is not."""

import re
from importlib.resources import files
from typing import Any, Final

import pytest

from tests.web.conftest import OpenPage, StartNode

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.slow, pytest.mark.timeout(120)]

_SAID: Final = re.compile(r"""\b(?:t|known)\(\s*(["`])(.+?)\1""")
"""A key where a text is asked for."""
_LITERAL: Final = re.compile(r'"([a-z]\w*(?:\.\w+)+)"')
_ANY: Final = re.compile(r"\$\{[^}]*\}")


def _sources() -> str:
    page = files("towpath.web") / "page"
    found = [page / "app.js", page / "api.js", *(page / "parts").iterdir(), *(page / "pages").iterdir()]
    return "\n".join(source.read_text("utf-8") for source in found)


def _texts(texts: dict[str, Any], before: str = "") -> set[str]:
    found: set[str] = set()
    for key, text in texts.items():
        if isinstance(text, dict) and "other" not in text:
            found |= _texts(text, f"{before}{key}.")
        else:
            found.add(before + key)
    return found


async def test_every_text_that_is_used_is_there_and_every_one_there_is_used(
    start_node: StartNode, open_page: OpenPage
) -> None:
    page = await open_page(start_node())
    texts = await page.page.evaluate("import('/texts.js').then(module => module.texts)")
    there, sources = _texts(texts), _sources()
    said = {match[2] for match in _SAID.finditer(sources)}
    patterns = [re.compile(_ANY.sub(r"[\\w.]+", key.replace(".", r"\."))) for key in said if "$" in key]
    assert {key for key in said if "$" not in key} - there == set()
    unused = there - set(_LITERAL.findall(sources))
    assert {key for key in unused if not any(pattern.fullmatch(key) for pattern in patterns)} == set()
