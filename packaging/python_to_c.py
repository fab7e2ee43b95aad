"""Translates typed Python modules to C with mypyc: python_to_c.py OUT ROOT LIBRARY=MODULE,MODULE,... ...

ROOT holds the packages. OUT gets what src/CMakeLists.txt compiles: a C file for each LIBRARY, with all its modules, and
one for each module, through which Python finds it in there. A file that would come out the same is not written.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

from mypyc.build import generate_c_extension_shim, mypyc_build
from mypyc.options import CompilerOptions

_SAME_EVERYWHERE = ("--config-file=", "--no-site-packages", "--ignore-missing-imports")
"""What other packages are here to tell types must not matter: some are missing where a wheel is built."""
_ONLY_THESE = ("--follow-imports=silent",)


def main(out: Path, root: Path, wanted: list[str]) -> None:
    libraries = {name: modules.split(",") for name, _, modules in (one.partition("=") for one in wanted)}
    paths = {module: module.replace(".", "/") + ".py" for modules in libraries.values() for module in modules}
    os.chdir(root)
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            mypyc_build(
                [*_SAME_EVERYWHERE, *_ONLY_THESE, f"--cache-dir={out / 'mypy'}", *paths.values()],
                CompilerOptions(target_dir=str(out), separate=True),
                separate=[([paths[module] for module in modules], name) for name, modules in libraries.items()],
            )
    except SystemExit:
        sys.stderr.write(told.getvalue())
        raise
    for name, modules in libraries.items():
        for module in modules:
            generate_c_extension_shim(module, module.rpartition(".")[2], str(out), name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:])
