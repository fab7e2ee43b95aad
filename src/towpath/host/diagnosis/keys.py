"""The identities: there, private, whole, and of the account that runs the node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from towpath.errors import IdentityError
from towpath.exported import KEYS
from towpath.host.diagnosis.finding import Finding, ok, problem, warning
from towpath.identity import load

__all__ = ["check_keys"]


def check_keys(data: Path) -> Iterator[Finding]:
    """Every key of a data directory."""
    present = {kind: data / file for kind, file in KEYS.items() if (data / file).exists()}
    if not present:
        yield ok("keys", "there are none yet; the node makes them when it first starts")
        return
    for kind, file in KEYS.items():
        path = data / file
        if kind not in present:
            yield warning(
                "keys",
                f"{path} is missing, so the node will get another {kind} id",
                "bring the old one back with `towpath id import FILE` if you have an export",
            )
            continue
        try:
            identity = load(path)
        except IdentityError as e:
            yield problem("keys", str(e), "or bring a saved one back with `towpath id import FILE --replace`")
            continue
        owner, of_directory = path.stat().st_uid, data.stat().st_uid
        if owner != of_directory and os.geteuid() == 0:
            yield problem("keys", f"{path} does not belong to the owner of {data}", f"chown --reference={data} {path}")
        else:
            yield ok("keys", f"{kind} id {identity.text}")
    if data.stat().st_mode & 0o022:
        yield problem("keys", f"others may write to {data}, and so replace the keys", f"chmod 700 {data}")
