"""A link on which packets take their time."""

from __future__ import annotations

from tests.net.lab.namespaces import Host, Lab


class Delay:
    """A link between two hosts of a lab whose round trip takes `seconds`."""

    def __init__(self, lab: Lab, one: Host, other: Host, network: str, seconds: float) -> None:
        names = lab.names()
        self._process = lab.python("tests.net.lab.delay_program", one.namespace, other.namespace, *names, str(seconds))
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise AssertionError("the delaying program did not start")
        for which, (host, name) in enumerate(zip((one, other), names, strict=True)):
            lab.adopt(host, name, network, which)

    def set(self, seconds: float) -> None:
        """Another delay from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n".encode())
        self._process.stdin.flush()
