"""Identities and their key files."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from towpath.errors import IdentityError
from towpath.identity import Identity, load, load_or_create, save

# The Ed25519 key pair of the peer id specification's test vectors.
PRIVATE = (
    "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
    "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
)


def test_the_specifications_key_has_the_specifications_form() -> None:
    identity = Identity.from_marshalled(bytes.fromhex(PRIVATE))
    assert identity.marshalled().hex() == PRIVATE
    assert identity.public_key.hex() == PRIVATE[-64:]
    assert identity.peer_id.hex() == "002408011220" + PRIVATE[-64:]


def test_new_identities_differ() -> None:
    assert Identity.generate().text != Identity.generate().text


def test_a_key_file_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "peer.key"
    first = load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert load_or_create(path).seed == first.seed
    assert save(Identity.generate(), path) is False
    assert load(path).seed == first.seed
    assert [file.name for file in path.parent.iterdir()] == ["peer.key"]


def test_starters_at_the_same_time_get_the_same_identity(tmp_path: Path) -> None:
    found: list[str] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        found.append(load_or_create(tmp_path / "peer.key").text)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "peer.key"
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(IdentityError, match="chmod 600"):
        load_or_create(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        bytes(32),
        bytes.fromhex(PRIVATE)[:-1],
        bytes.fromhex(PRIVATE) + b"\0",
        bytes.fromhex(PRIVATE)[:-1] + b"\0",
    ],
)
def test_a_damaged_key_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peer.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="damaged"):
        load_or_create(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityError, match=r"cannot .* Not a directory"):
        load_or_create(tmp_path / "file" / "peer.key")


def test_an_identity_does_not_show_its_secret() -> None:
    identity = Identity.generate()
    assert identity.seed.hex() not in repr(identity)
