"""docs/settings.md, made from the schema: `python -m towpath.settings.document > docs/settings.md`."""

from __future__ import annotations

import sys
from typing import Final

from towpath.live_settings import WAITING
from towpath.settings.schema import KEYS, Key
from towpath.settings.values import TomlValue

__all__ = ["document"]

_HEAD: Final = """\
# Settings

This page is made from the schema in `src/towpath/settings/schema.py`; a test fails when they differ.

Every key can stand in several places; a later one wins: the default of the node's mode, `DIR/config.toml`, the
environment, `--set` on the command line (in Python, `Settings.load({"relay.mode": "cooperative"})`), and what its owner
changes while the node runs.

```toml
# DIR/config.toml
[relay]
mode = "cooperative"
max_rate = "20Mbit/s"
```

```sh
TOWPATH_RELAY__MODE=cooperative towpath run
towpath run --set relay.mode=cooperative --set relay.max_rate=20Mbit/s
towpath config set relay.mode cooperative       # the running node, and DIR/config.toml, whose comments stay
towpath config unset relay.max_rate             # back to its default
towpath config show --origin                    # every key, its value and where it comes from
```

A running node takes changes up at once: from `towpath config set` and its kin (`mode`, `limit`, `schedule`), from
`PATCH /v1/settings`, and from the file when it is sent SIGHUP. Such a change is kept in the file. For keys marked ‡ it
waits for the next start, which is said; and where the environment or `--set` will win over the file then, that is said
too.

Sizes are written `500MB` (10⁶ bytes) or `2GiB` (2³⁰ bytes), rates `20Mbit/s`, `3MB/s` or `50MB/h`, times `90s`,
`2h` or `1h30m`. `unlimited` is a value of every limit but `relay.reservation_ttl`. Lists are TOML arrays, or one text
with commas. A key or value that is wrong stops the node before anything is applied, with a sentence that says what is
allowed.

Keys marked † are checked by this version, but do not change what it does yet; setting one logs a line.
"""


def document() -> str:
    """The page."""
    sections: dict[str, list[Key]] = {}
    for key in KEYS.values():
        sections.setdefault(key.name.partition(".")[0], []).append(key)
    parts = [_HEAD]
    for section, keys in sections.items():
        parts.append(f"\n## {section}\n\n| key | allowed | default | meaning |\n|---|---|---|---|\n")
        for key in keys:
            mark = " †" if key.later else " ‡" if key.name.startswith(WAITING) else ""
            parts.append(f"| `{key.name}`{mark} | {key.kind.allowed} | {_defaults(key)} | {key.meaning} |\n")
    return "".join(parts)


def _defaults(key: Key) -> str:
    client, cooperative, dedicated = (_show(key.kind.write(key.kind.read(value))) for value in key.defaults)
    if client == cooperative == dedicated:
        return client
    if client == cooperative:
        return f"{client}; dedicated: {dedicated}"
    if cooperative == dedicated:
        return f"{cooperative}; client: {client}"
    return f"{client}; cooperative: {cooperative}; dedicated: {dedicated}"


def _show(value: TomlValue) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return ", ".join(f"`{part}`" for part in value) or "empty"
    return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(document())
