"""The service that this user would install: is it installed, and does it start by itself?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from towpath.errors import TowpathError
from towpath.host.diagnosis.finding import Finding, ok, problem, warning
from towpath.host.service_manager import Systemd

__all__ = ["check_service"]


def check_service() -> Iterator[Finding]:
    """Nothing when it is not installed."""
    manager = Systemd(system=os.geteuid() == 0)
    try:
        if manager.installed() is None:
            return
        found = manager.status()
    except TowpathError as e:
        yield warning("service", str(e), "without it the node does not start by itself")
        return
    option = "" if manager.system else " --user"
    if found.active == "failed":
        advice = f"journalctl{option} -u towpath -n 30 says why; then systemctl{option} restart towpath"
        yield problem("service", f"it failed ({found.result}) and is not started again", advice)
    elif not found.enabled:
        yield warning("service", "it does not start by itself", f"systemctl{option} enable towpath")
    else:
        yield ok("service", f"{found.active}, and starts by itself")
