"""`towpath service`: the node as a service of systemd."""

from __future__ import annotations

import getpass
import os
import pwd
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from towpath.cli import UsageError
from towpath.cli.options import Data, Json
from towpath.cli.output import print_json, truth
from towpath.cli.places import data_directory
from towpath.control.client import ask, ready
from towpath.control.paths import SOCKET_PATH_MAX
from towpath.errors import NotRunning, TowpathError
from towpath.host.service_manager import Service, Systemd, can_mount
from towpath.host.unit import STATE, Unit
from towpath.settings.file import change
from towpath.settings.schema import MODES

__all__ = ["app"]

_PASSING: Final = ("/tmp", "/var/tmp")  # noqa: S108 - to be compared with

app = App(name="service", help="Let systemd run the node: at boot, watched and confined.")

System = Annotated[
    bool | None,
    Parameter(
        name="--system",
        negative="--user",
        show_default=False,
        help="Ask the machine's service manager (the default for root), or this user's own.",
    ),
]


@app.command
def install(
    *,
    now: Annotated[bool, Parameter(negative="", show_default=False, help="Start it at once also.")] = False,
    mode: Annotated[
        str | None, Parameter(metavar="MODE", help="Set relay.mode: client, cooperative or dedicated.")
    ] = None,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False, help="Print the unit and do nothing.")] = False,
    system: System = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Install the node as a service that starts with the machine, or (--user) with your session."""
    if mode is not None and mode not in MODES:
        raise UsageError(f"--mode takes {', '.join(MODES)}, not {mode}")
    manager = _manager(system)
    unit = _unit(data, system=manager.system)
    if dry_run:
        print(unit.text(), end="")
        return
    obstacle = unit.unreadable()
    if obstacle is not None:
        raise TowpathError(
            f"the service's own account could not read {obstacle}, where this towpath is; install towpath where "
            "everybody can read it, such as /opt/towpath (`python3 -m venv /opt/towpath`), or name the directory of an "
            "account that can with --data DIR, or install it for yourself with --user"
        )
    manager.check()
    manager.installed()
    if now:
        _refuse_beside_another(unit.data, manager.status())
    if not manager.system:
        # Its sandbox names this directory, so it must be there.
        unit.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if mode is not None:
        change(unit.data, {"relay.mode": mode}, source="the command line")
    changed = manager.install(unit, now=now)
    facts = {"unit": str(manager.file), "data": str(unit.data), "changed": changed, "started": now}
    if as_json:
        print_json(facts)
    else:
        print("\n".join(_installed(manager, unit, changed=changed, now=now)))


@app.command
def remove(*, system: System = None, as_json: Json = False) -> None:
    """Stop the service and take its unit away. The data directory stays."""
    manager = _manager(system)
    data = manager.remove()
    if as_json:
        print_json(
            {"unit": str(manager.file), "data": None if data is None else str(data), "removed": data is not None}
        )
    elif data is None:
        print(f"There is no {manager.file}: nothing to remove.")
    else:
        print(f"Stopped it and removed {manager.file}.")
        print(f"Identities, settings and counters are still in {data}; delete that directory to forget them.")


@app.command
def status(*, system: System = None, as_json: Json = False) -> None:
    """Show whether the service is installed and how it does."""
    manager = _manager(system)
    found = manager.status()
    if as_json:
        print_json(_facts(found))
        return
    if found.unit is None:
        print(
            f"There is no {manager.file}: install the service with `towpath service install{_option(manager)} --now`."
        )
        return
    for name, value in _rows(manager, found):
        print(f"{name:12}{value}")


def _manager(system: bool | None) -> Systemd:
    root = os.geteuid() == 0
    wanted = root if system is None else system
    if wanted and not root:
        raise UsageError("--system changes the whole machine: run this as root (sudo), or take --user")
    return Systemd(system=wanted)


def _unit(data: Path | None, *, system: bool) -> Unit:
    python = Path(sys.executable)
    if not system:
        unit = Unit(system=False, data=data_directory(data), python=python, mounts=can_mount())
    elif data is None or data.absolute() == STATE:
        unit = Unit(system=True, data=STATE, python=python)
    else:
        directory = data_directory(data)
        unit = Unit(system=True, data=directory, python=python, account=_owner(directory))
    # A longer one would put the node's socket into a runtime directory, where the service may not write.
    if len(os.fsencode(unit.data / "api.sock")) > SOCKET_PATH_MAX:
        raise TowpathError(f"{unit.data} is too long a path for a service; choose a shorter --data directory")
    # The service has a /tmp of its own, and what is there is gone with the next start.
    if any(unit.data.is_relative_to(place) for place in _PASSING):
        raise TowpathError(f"{unit.data} does not last; choose another --data directory")
    return unit


def _owner(directory: Path) -> str:
    try:
        uid = directory.stat().st_uid
        if uid != 0:
            return pwd.getpwuid(uid).pw_name
    except FileNotFoundError as e:
        advice = "make it first, for the account that the node shall run as (`install -d -m 700 -o ACCOUNT DIR`)"
        raise TowpathError(f"there is no {directory}: {advice}, or leave --data out") from e
    except KeyError as e:
        raise TowpathError(f"{directory} belongs to uid {uid}, which has no name here; give it to an account") from e
    raise TowpathError(
        f"{directory} is root's, and a relay should not run as root: give it to the account that the node shall run as "
        "(`chown -R ACCOUNT DIR`), or leave --data out"
    )


def _refuse_beside_another(data: Path, service: Service) -> None:
    """TowpathError when a node that is not the service's runs on `data`."""
    try:
        ask(data, "/v1/status")
    except NotRunning:
        return
    pid = (ready(data) or {}).get("pid")
    if pid != service.pid:
        raise TowpathError(f"a node runs on {data} already (process {pid}); stop it, then install the service")


_USER_HINT: Final = "It stops when you log out; to let it go on: loginctl enable-linger"


def _installed(manager: Systemd, unit: Unit, *, changed: bool, now: bool) -> list[str]:
    option = "" if manager.system else " --user"
    at = "the machine" if manager.system else "your session"
    lines = [f"{'Wrote' if changed else 'Nothing to change in'} {manager.file}: a node that starts with {at}."]
    if now:
        lines.append("It runs." if not changed else "Started it.")
    else:
        lines.append(f"Start it now: systemctl{option} start towpath")
    if not unit.mounts:
        lines.append("This machine lets users have no view of the file system of their own, so it is confined less.")
    if not manager.lingers(getpass.getuser()):
        lines.append(_USER_HINT)
    sudo = "sudo " if manager.system else ""
    lines += [
        f"{'Its data':12}{unit.data}",
        f"{'Ask it':12}{sudo}towpath status --data {shlex.quote(str(unit.data))}",
        f"{'Its log':12}journalctl{option} -u towpath -f",
        f"{'Undo':12}{sudo}towpath service remove{_option(manager)}   (keeps the data)",
    ]
    return lines


def _facts(found: Service) -> dict[str, Any]:
    return {
        "installed": found.unit is not None,
        "unit": None if found.unit is None else str(found.unit),
        "data": None if found.data is None else str(found.data),
        "enabled": found.enabled,
        "active": found.active,
        "pid": found.pid,
        "since": found.since or None,
        "says": found.says or None,
        "restarts": found.restarts,
        "result": found.result or None,
    }


def _rows(manager: Systemd, found: Service) -> list[tuple[str, str]]:
    rows = [
        ("unit", str(found.unit)),
        ("data", str(found.data)),
        ("at start", truth(found.enabled)),
        ("state", f"{found.active} since {found.since}" if found.since else found.active),
    ]
    if found.pid is not None:
        rows.append(("process", str(found.pid)))
    if found.says:
        rows.append(("it says", found.says))
    if found.restarts or found.result not in ("", "success"):
        rows.append(("last end", f"{found.result}; started again {found.restarts} times"))
    if found.active != "active":
        option = "" if manager.system else " --user"
        rows.append(
            ("see", f"journalctl{option} -u towpath -n 30; towpath doctor --data {shlex.quote(str(found.data))}")
        )
    if not manager.lingers(getpass.getuser()):
        rows.append(("note", _USER_HINT))
    return rows


def _option(manager: Systemd) -> str:
    """The option that names this manager, where it is not the default."""
    return " --user" if not manager.system and os.geteuid() == 0 else ""
