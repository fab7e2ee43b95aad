"""`towpath completion`: what makes a shell complete towpath's commands and options."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

__all__ = ["completion"]


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell it is for.")],
    /,
    *,
    install: Annotated[
        bool, Parameter(negative="", show_default=False, help="Put it where that shell looks for it.")
    ] = False,
) -> None:
    """Print the script with which a shell completes commands and options; `--install` puts it into place.

    For one session: `source <(towpath completion bash)`.
    """
    from towpath.cli.app import app

    if install:
        path = app.install_completion(shell=shell, add_to_startup=False)
        print(f"{path} was written; shells that are started from now on complete towpath's commands.")
    else:
        print(app.generate_completion(shell=shell))
