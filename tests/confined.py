"""Runs a command as a systemd unit would confine it, without systemd: `python confined.py UNIT COMMAND…`.

The unit's SystemCallFilter, RestrictAddressFamilies and MemoryDenyWriteExecute become one seccomp filter (through
libseccomp, as systemd does it), but what they forbid kills instead of failing, so that nothing goes unnoticed. With
ProtectSystem=strict the file system is read-only but for ReadWritePaths: this program then starts itself again in
namespaces of its own, as an ordinary user may.
"""

import ctypes
import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

ALLOW = 0x7FFF0000
KILL = 0x80000000
NO_SUCH_CALL = -1
EQUAL, MASKED_EQUAL = 4, 7
WRITE, EXECUTE = 2, 4
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
NO_NEW_PRIVILEGES = 38
INSIDE = "TOWPATH_TEST_CONFINED"


class Comparison(ctypes.Structure):
    """scmp_arg_cmp: argument number, operator, two operands."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def values(unit: str, key: str) -> list[str]:
    """What a unit gives a key, each line as a text."""
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def members(group: str) -> set[str]:
    """The calls in one of systemd's sets, or the call itself."""
    if not group.startswith("@"):
        return {group}
    out = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    words = [line.strip() for line in out.splitlines()[1:]]
    return set().union(*(members(word) for word in words if word and not word.startswith("#")))


def allowed(unit: str) -> set[str]:
    """The calls that the unit's SystemCallFilter leaves."""
    calls: set[str] = set()
    for text in values(unit, "SystemCallFilter"):
        named = set().union(*(members(word) for word in text.removeprefix("~").split()))
        calls = calls - named if text.startswith("~") else calls | named
    return calls | members("@default")


def confine(unit: str) -> None:
    """Loads the filter into this process, for good."""
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(KILL)))

    def allow(call: str, *conditions: tuple[int, int, int, int]) -> None:
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number == NO_SUCH_CALL:
            return
        rules = (Comparison * len(conditions))(*(Comparison(*condition) for condition in conditions))
        done = library.seccomp_rule_add_array(context, ctypes.c_uint32(ALLOW), number, len(conditions), rules)
        assert done == 0, (call, os.strerror(-done))

    families = [FAMILIES[name] for text in values(unit, "RestrictAddressFamilies") for name in text.split()]
    calls = allowed(unit)
    for call in calls - {"socket", "mmap", "mprotect", "pkey_mprotect"}:
        allow(call)
    for family in families:
        allow("socket", (0, EQUAL, family, 0))
    assert values(unit, "MemoryDenyWriteExecute") == ["yes"]
    for protection in (0, WRITE, EXECUTE):
        allow("mmap", (2, MASKED_EQUAL, WRITE | EXECUTE, protection))
    for call in ("mprotect", "pkey_mprotect"):
        allow(call, (2, MASKED_EQUAL, EXECUTE, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    done = library.seccomp_load(context)
    assert done == 0, os.strerror(-done)


def main(file: str, *command: str) -> None:
    """Becomes the command, confined."""
    unit = Path(file).read_text()
    assert values(unit, "ProtectSystem") == ["strict"]
    if INSIDE not in os.environ:
        (writable,) = values(unit, "ReadWritePaths")
        mounts = f"mount --bind {writable} {writable} && mount -o remount,bind,ro / && "
        # Not as root, which no service is: SQLite would give its files away, which the filter forbids.
        ordinary = 'exec unshare --user --map-user=1000 --map-group=1000 "$@"'
        again = ["sh", "-c", mounts + ordinary, "sh", sys.executable, __file__, file, *command]
        os.environ[INSIDE] = "1"
        # In a user namespace, so that a mistake cannot reach the mounts of the machine.
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", *again])
    confine(unit)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
