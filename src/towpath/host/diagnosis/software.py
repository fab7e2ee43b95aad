"""What the node is made of: Python, its packages, the two libraries below, the processor, the AEAD it would choose."""

from __future__ import annotations

import ctypes
import importlib.metadata
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from towpath import __version__
from towpath.host.diagnosis.finding import Finding, ok, problem, warning
from towpath.settings import Settings

__all__ = ["check_software", "judge_aead", "judge_packages", "processor"]

_FLAGS: Final = ("aes", "avx2", "avx512f", "vaes", "asimd")


def check_software(settings: Settings) -> Iterator[Finding]:
    """Everything that runs in a node's process."""
    yield ok("versions", f"towpath {__version__}, Python {platform.python_version()}, Linux {platform.release()}")
    required = importlib.metadata.requires("towpath") or []
    yield judge_packages(required, importlib.metadata.version)
    try:
        yield ok("libraries", f"libsodium {_libsodium()}, {_libcrypto()}")
        chosen, other = _calibrated()
    except (ImportError, OSError, AttributeError, StopIteration) as e:
        yield problem(
            "libraries", f"the native part cannot be used: {e}", "install towpath again for this Python and machine"
        )
        return
    yield judge_aead(settings.native.aead, chosen, other, processor(Path("/proc/cpuinfo")))


def judge_packages(required: Iterable[str], version: Callable[[str], str]) -> Finding:
    """Are the packages of `required` (requirements; those of extras don't count) there?"""
    names = [re.split(r"[\s~=<>!\[;(]", text, maxsplit=1)[0] for text in required if "extra ==" not in text]
    there, missing = [], []
    for name in sorted(names):
        try:
            there.append(f"{name} {version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return problem(
            "packages",
            f"missing: {', '.join(missing)}",
            "install towpath again: `pip install --force-reinstall towpath`",
        )
    return ok("packages", ", ".join(there))


def judge_aead(setting: str, fastest: str, other: str, flags: Iterable[str]) -> Finding:
    """The calibration found `fastest` on a processor with `flags`; `setting` is native.aead."""
    what = f"{fastest} encrypts fastest here (processor: {', '.join(flags) or 'no special instructions'})"
    if setting == other:
        advice = "`towpath config set native.aead auto`"
        return warning("aead", f"{what}, but native.aead says {other}", advice, settings={"native.aead": "auto"})
    return ok("aead", what)


def processor(cpuinfo: Path) -> list[str]:
    """The instructions for encrypting that the processor has."""
    try:
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return []
    return [] if found is None else [flag for flag in _FLAGS if flag in found[1].split()]


def _libsodium() -> str:
    from towpath._libs import pysodium

    version = pysodium.sodium.sodium_version_string
    version.restype = ctypes.c_char_p
    return str(version().decode())


def _libcrypto() -> str:
    """The version of the libcrypto that the native modules are linked with, which need not be Python's own."""
    import towpath._native.reactor  # noqa: F401 - maps it

    path = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libcrypto" in line)
    version = ctypes.CDLL(path).OpenSSL_version
    version.restype = ctypes.c_char_p
    return str(version(0).decode())


def _calibrated() -> tuple[str, str]:
    import uvloop

    from towpath._native.reactor import Reactor

    loop = uvloop.new_event_loop()
    try:
        reactor = Reactor(loop)
        chosen = reactor.aead_name
        reactor.close()
    finally:
        loop.close()
    return chosen, "openssl" if chosen == "libsodium" else "libsodium"
