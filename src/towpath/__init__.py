"""towpath: any user can be a relay. The public API; see docs/ for what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from towpath.node import Node
    from towpath.settings import RelayMode, Settings
    from towpath.stream import Stream

__version__ = "0.1.0"

__all__ = ["Node", "RelayMode", "Settings", "Stream", "__version__"]

_HOME = {
    "Node": "towpath.node",
    "RelayMode": "towpath.settings",
    "Settings": "towpath.settings",
    "Stream": "towpath.stream",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: the command line answers `--help` without the data plane.
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'towpath' has no attribute {name!r}")
