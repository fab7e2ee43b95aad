"""`towpath id`: who this node is, and taking that elsewhere."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from towpath import exported, identity, private_file
from towpath.cli import UsageError
from towpath.cli.options import Data, Json
from towpath.cli.output import print_json
from towpath.cli.places import data_directory, locked
from towpath.errors import IdentityError
from towpath.exported import KEYS, NeedsPassphrase
from towpath.identity import Identity, load, load_or_create

__all__ = ["app"]

app = App(name="id", help="Show, save or bring in who this node is.")
_LARGEST: Final = 64 * 1024
Passphrase = Annotated[
    bool,
    Parameter(
        name="--passphrase",
        negative="",
        show_default=False,
        help="Under a passphrase, which is asked for, or read as the first line of what is piped in.",
    ),
]


@app.default
def show(*, data: Data = None, as_json: Json = False) -> None:
    """Show the ids of this node, which are made if there are none yet."""
    directory = data_directory(data)
    found = {kind: load_or_create(directory / file).text for kind, file in KEYS.items()}
    if as_json:
        print_json({f"{kind}_id": text for kind, text in found.items()})
        return
    print(f"peer id   {found['peer']}   (what friends know; it reserves and dials)")
    print(f"relay id  {found['relay']}   (what relays are known by; it listens)")


@app.command
def export(file: Path, /, *, passphrase: Passphrase = False, data: Data = None, as_json: Json = False) -> None:
    """Save the keys of this node to a new file, so that a lost disk is no lost name."""
    directory = data_directory(data)
    if not any((directory / key).exists() for key in KEYS.values()):
        raise IdentityError(
            f"there are no identities in {directory} to save; name the node's directory with --data DIR"
        )
    keys = {kind: load(directory / key) for kind, key in KEYS.items()}
    text = exported.write(keys, _passphrase(new=True) if passphrase else None)
    try:
        made = private_file.create(file, text.encode())
        private = made and not file.stat().st_mode & 0o077
    except OSError as e:
        raise IdentityError(f"cannot write {file}: {e.strerror}") from e
    if not made:
        raise IdentityError(f"{file} is there already; choose another name")
    if as_json:
        print_json({"file": str(file), "sealed": passphrase, **_ids(keys)})
        return
    if passphrase:
        print(f"The private keys are in {file}, under the passphrase. Keep both, in different places.")
    else:
        print(f"The private keys are in {file}, in plain text. SECRET: whoever has that file can be this node.")
        print("Keep it where only you can read it, or write it with --passphrase.")
    if not private:
        print(f"The file system of {file} keeps no permissions: everybody who can reach it can read the file.")


@app.command(name="import")
def bring_in(
    file: Path,
    /,
    *,
    passphrase: Passphrase = False,
    replace: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Also when the node has other keys, which are kept beside."),
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Bring in keys that `export` saved, while the node does not run."""
    directory = data_directory(data)
    keys = _read(file, ask=passphrase)
    with locked(directory, f"a node runs on {directory} (process {{pid}}); stop it first"):
        beside = _set(directory, keys, replace=replace)
    if as_json:
        print_json({**_ids(keys), "kept": [str(path) for path in beside]})
        return
    for kind, key in keys.items():
        print(f"{kind + ' id':10}{key.text}")
    for path in beside:
        print(f"The key that was there before is in {path}.")


def _set(directory: Path, keys: dict[str, Identity], *, replace: bool) -> list[Path]:
    """Puts the keys into a directory; where those that were there before are now."""
    others = []
    for kind, key in keys.items():
        path = directory / KEYS[kind]
        if path.exists() and ((replace and _unreadable(path)) or load(path).seed != key.seed):
            others.append(path)
    if others and not replace:
        raise IdentityError(f"{others[0]} holds another identity; with --replace it is kept beside the new one")
    beside = []
    try:
        # First every old key is kept: whenever this is interrupted, none is lost.
        for path in others:
            beside.append(_free_name(path))
            private_file.create(beside[-1], path.read_bytes())
        for kind, key in keys.items():
            path = directory / KEYS[kind]
            if path in others:
                private_file.replace(path, key.marshalled())
            else:
                identity.save(key, path)
    except OSError as e:
        raise IdentityError(f"cannot write the keys to {directory}: {e.strerror}") from e
    return beside


def _unreadable(path: Path) -> bool:
    try:
        load(path)
    except IdentityError:
        return True
    return False


def _free_name(path: Path) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}.replaced-{number}")).exists():
        number += 1
    return candidate


def _read(file: Path, *, ask: bool) -> dict[str, Identity]:
    try:
        with file.open("rb") as f:
            text = f.read(_LARGEST)
    except OSError as e:
        raise IdentityError(f"cannot read {file}: {e.strerror}") from e
    try:
        try:
            return exported.read(text, _passphrase(new=False) if ask else None)
        except NeedsPassphrase:
            if not sys.stdin.isatty():
                raise
            return exported.read(text, _passphrase(new=False))
    except IdentityError as e:
        raise IdentityError(f"cannot use {file}: {e}") from e


def _passphrase(*, new: bool) -> str:
    if sys.stdin.isatty():
        text = getpass.getpass("Passphrase: ")
        if new and text != getpass.getpass("The same again: "):
            raise UsageError("these were two different passphrases; nothing was written")
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise UsageError("the passphrase is empty; type one, or pipe it in")
    return text


def _ids(keys: dict[str, Identity]) -> dict[str, str]:
    return {f"{kind}_id": key.text for kind, key in keys.items()}
