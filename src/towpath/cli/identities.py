"""`towpath id`: who this node is."""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Final

from towpath.cli.output import print_json
from towpath.cli.places import data_directory
from towpath.errors import IdentityError
from towpath.identity import Identity, load_or_create, save

__all__ = ["bring_in", "export", "show"]

_KEYS: Final = {"peer_id": "peer.key", "relay_id": "relay.key"}


def show(data: Path | None, *, as_json: bool) -> None:
    """Prints both ids."""
    found = {name: load_or_create(data_directory(data) / file).text for name, file in _KEYS.items()}
    if as_json:
        print_json(found)
        return
    print(f"peer id   {found['peer_id']}   (what friends know; it reserves and dials)")
    print(f"relay id  {found['relay_id']}   (what relays are known by; it listens)")


def export(file: Path, data: Path | None) -> None:
    """Writes both private keys to a new file, mode 0600."""
    keys = {name: load_or_create(data_directory(data) / key).marshalled() for name, key in _KEYS.items()}
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as e:
        raise IdentityError(f"{file} is there already; choose another name") from e
    except OSError as e:
        raise IdentityError(f"cannot write {file}: {e.strerror}") from e
    with open(descriptor, "w", encoding="ascii") as f:
        json.dump({name: base64.b64encode(key).decode() for name, key in keys.items()}, f, indent=1)
        f.write("\n")
    print(f"Both private keys are in {file}. Whoever has it can be this node: keep it safe.")


def bring_in(file: Path, data: Path | None) -> None:
    """Takes both keys of an exported file, unless this node has other ones."""
    directory = data_directory(data)
    try:
        found = json.loads(file.read_bytes())
        keys = {name: Identity.from_marshalled(base64.b64decode(found[name], validate=True)) for name in _KEYS}
    except OSError as e:
        raise IdentityError(f"cannot read {file}: {e.strerror}") from e
    except (ValueError, KeyError, TypeError, binascii.Error) as e:
        raise IdentityError(f"{file} was not written by `towpath id export`") from e
    present = {name: directory / key for name, key in _KEYS.items() if (directory / key).exists()}
    for name, path in present.items():
        if load_or_create(path).text != keys[name].text:
            raise IdentityError(f"{path} holds another identity; move it away first if you want to replace it")
    for name, identity in keys.items():
        save(identity, directory / _KEYS[name])
        print(f"{name.replace('_', ' '):10}{identity.text}")
