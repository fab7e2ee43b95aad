"""`towpath id`: who this node is."""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Final

from cyclopts import App

from towpath.cli.options import Data, Json
from towpath.cli.output import print_json
from towpath.cli.places import data_directory
from towpath.errors import IdentityError
from towpath.identity import Identity, load_or_create, save

__all__ = ["app"]

app = App(name="id", help="Show, save or bring in who this node is.")
_KEYS: Final = {"peer_id": "peer.key", "relay_id": "relay.key"}


@app.default
def show(*, data: Data = None, as_json: Json = False) -> None:
    """Show the ids of this node, which are made if there are none yet."""
    found = {name: load_or_create(data_directory(data) / file).text for name, file in _KEYS.items()}
    if as_json:
        print_json(found)
        return
    print(f"peer id   {found['peer_id']}   (what friends know; it reserves and dials)")
    print(f"relay id  {found['relay_id']}   (what relays are known by; it listens)")


@app.command
def export(file: Path, /, *, data: Data = None) -> None:
    """Save the keys of this node to a new file, to keep or to move it elsewhere."""
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


@app.command(name="import")
def bring_in(file: Path, /, *, data: Data = None) -> None:
    """Bring in keys that `export` saved. A node that has other keys keeps them, and this fails."""
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
