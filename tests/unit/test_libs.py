"""pysodium and the native modules use one copy of libsodium, wherever it came from."""

import subprocess
import sys
from pathlib import Path

PROBE = """
import ctypes.util
search = ctypes.util.find_library
from towpath._libs import pysodium
assert ctypes.util.find_library is search
public, secret = pysodium.crypto_sign_keypair()
pysodium.crypto_sign_verify_detached(pysodium.crypto_sign_detached(b"x", secret), b"x", public)
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "libsodium" in line}
print(len(mapped), *mapped)
"""


def libsodium_copies(python: Path) -> list[str]:
    """The libsodium files that a fresh interpreter has mapped after importing pysodium through towpath."""
    run = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60)
    count, *paths = run.stdout.split()
    assert int(count) == len(paths)
    return paths


def test_pysodium_shares_the_libsodium_of_the_native_modules() -> None:
    assert len(libsodium_copies(Path(sys.executable))) == 1
