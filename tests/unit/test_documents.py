"""What the documents tell people to type is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from towpath.cli.app import app
from towpath.cli.run import _parse
from towpath.settings import Settings
from towpath.settings.schema import KEYS

ROOT = Path(__file__).parents[2]
RELAY = "/ip4/203.0.113.7/tcp/4001/p2p/12D3KooWF8RBeyYaY5rXxiuMnbXWoidinxVL6a6rypRsRYRLmwx3"
"""What the word RELAY stands for."""
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def commands(document: Path) -> list[str]:
    """The lines in a document's blocks that are commands of ours."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    found = (re.fullmatch(r"(?:[A-Z_]+=\S+ )*(?:sudo (?:-E )?)?towpath (\S.*)", line) for line in lines)
    return [re.sub(r"\s+#.*", "", match[1]) for match in found if match]


TYPED = [(document.name, line) for document in DOCUMENTS for line in commands(document)]


def test_there_are_commands_in_the_documents() -> None:
    assert {"README.md", "operators.md", "settings.md"} <= {name for name, _ in TYPED}


@pytest.mark.parametrize(("name", "line"), TYPED)
def test_every_command_in_the_documents_is_one(name: str, line: str) -> None:
    words = [RELAY if word == "RELAY" else word for word in shlex.split(line)]
    if words[0] == "run":
        _parse(words[1:])
        return
    app.parse_args(words, exit_on_error=False, print_error=False)
    if words[:2] == ["config", "set"]:
        given = words[3].replace("ADDRESS", "203.0.113.7")
        Settings.load({words[2]: given}, environ={})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_and_document_that_is_named_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    sections = "|".join(sorted({key.partition(".")[0] for key in KEYS}))
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", text))
    assert named - set(KEYS) == set()
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []
