"""One libsodium for the whole process: `from towpath._libs import pysodium`, never `import pysodium`.

pysodium asks `ctypes.util.find_library` at import, which does not see a copy bundled in a wheel and starts
`ldconfig` to look. Our extension modules are linked with libsodium already, bundled or not, and looking a
symbol up in a shared object also searches what it is linked with: so pysodium is handed one of them.
"""

import ctypes.util
from pathlib import Path
from typing import Any

import towpath._native

__all__ = ["pysodium"]


def _import_pysodium() -> Any:
    ours = min(Path(towpath._native.__file__).parent.glob("*.so"))
    search = ctypes.util.find_library
    ctypes.util.find_library = lambda name: str(ours)
    try:
        import pysodium  # noqa: TID251
    finally:
        ctypes.util.find_library = search
    return pysodium


pysodium = _import_pysodium()
