"""The file of saved identities: what is in it, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from towpath import exported
from towpath.errors import IdentityError
from towpath.exported import KEYS, NeedsPassphrase, read, write
from towpath.identity import Identity


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "_OPERATIONS", 1)
    monkeypatch.setattr(exported, "_MEMORY", 8192)


@pytest.fixture
def keys() -> dict[str, Identity]:
    return {kind: Identity.generate() for kind in KEYS}


def seeds(keys: dict[str, Identity]) -> dict[str, bytes]:
    return {kind: key.seed for kind, key in keys.items()}


@pytest.mark.parametrize("passphrase", [None, "correct horse", "läßt grüßen"])
def test_what_was_written_is_read(keys: dict[str, Identity], passphrase: str | None) -> None:
    assert seeds(read(write(keys, passphrase).encode(), passphrase)) == seeds(keys)


def test_a_plain_file_says_that_it_is_secret(keys: dict[str, Identity]) -> None:
    assert "whoever has this file can be this node" in write(keys, None)


def test_a_sealed_file_tells_nothing_without_its_passphrase(keys: dict[str, Identity]) -> None:
    text = write(keys, "right")
    plain = json.loads(write(keys, None))["keys"]
    assert not any(part in text for key in keys.values() for part in (key.text, key.seed.hex()))
    assert not any(part in text for part in plain.values())
    with pytest.raises(NeedsPassphrase, match="--passphrase"):
        read(text.encode(), None)
    for wrong in ("wrong", "", "Right", "right "):
        with pytest.raises(IdentityError, match="passphrase is wrong"):
            read(text.encode(), wrong)
    assert text != write(keys, "right")


def test_a_passphrase_is_the_same_however_its_letters_are_put_together(keys: dict[str, Identity]) -> None:
    assert seeds(read(write(keys, "gr\u00fc\u00df").encode(), "gru\u0308\u00df")) == seeds(keys)


def changed(text: str, **changes: Any) -> bytes:
    content = json.loads(text)
    for path, value in changes.items():
        *folders, name = path.split("__")
        place = content
        for folder in folders:
            place = place[folder]
        place[name] = value
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"towpath": "settings"}, "not written by"),
        ({"version": "1"}, "not written by"),
        ({"version": 2}, "newer towpath"),
        ({"keys": []}, "damaged"),
        ({"keys": {}}, "lacks the peer key"),
        ({"keys__peer": "?"}, "damaged"),
        ({"keys__peer": 5}, "damaged"),
        ({"keys__peer": ""}, "not an Ed25519"),
        ({"keys__account": ""}, "not known here, 'account'"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_a_sentence(
    keys: dict[str, Identity], changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(IdentityError, match=sentence):
        read(changed(write(keys, None), **changes), None)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"5", b"\xff", b'{"towpath": "identities"}'])
def test_what_is_no_export_is_refused(text: bytes) -> None:
    with pytest.raises(IdentityError, match="not written by"):
        read(text, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"sealed": None},
        {"sealed": {}},
        {"sealed__memory": 1 << 40},
        {"sealed__memory": 8192.5},
        {"sealed__operations": 1 << 40},
        {"sealed__operations": 0},
        {"sealed__salt": ""},
        {"sealed__nonce": "AAAA"},
        {"sealed__box": ""},
        {"sealed__box": "AAAA" * 20},
    ],
)
def test_a_sealed_file_that_was_changed_is_refused_and_costs_little(
    keys: dict[str, Identity], changes: dict[str, Any]
) -> None:
    with pytest.raises(IdentityError, match="damaged"):
        read(changed(write(keys, "right"), **changes), "right")


def test_a_machine_without_the_memory_is_told_so(keys: dict[str, Identity], monkeypatch: pytest.MonkeyPatch) -> None:
    from towpath._libs import pysodium

    def fails(*_: object) -> bytes:
        raise ValueError

    monkeypatch.setattr(pysodium, "crypto_pwhash", fails)
    monkeypatch.setattr(exported, "_MEMORY", 256 * 1024 * 1024)
    with pytest.raises(IdentityError, match="256 MiB"):
        write(keys, "right")
