"""Links on which packets take their time, and some are lost."""

from __future__ import annotations

from tests.net.lab.namespaces import Host, Lab


class Delay:
    """A link between two hosts of a lab whose round trip takes `seconds` and loses the part `loss` of the packets.

    All links of a lab have one program between their ends.
    """

    def __init__(self, lab: Lab, one: Host, other: Host, network: str, seconds: float, loss: float = 0.0) -> None:
        if lab.delaying is None:
            lab.delaying = lab.python("tests.net.lab.delay_program")
        self._process = lab.delaying
        self._loss = loss
        self.names = lab.names()
        """The link's name at each end."""
        self._tell("add", one.namespace, other.namespace, *self.names, seconds, loss)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise AssertionError("the delaying program did not start")
        for which, (host, name) in enumerate(zip((one, other), self.names, strict=True)):
            lab.adopt(host, name, network, which)

    def set(self, seconds: float, loss: float | None = None) -> None:
        """Another delay from now on, and another loss when given."""
        self._loss = self._loss if loss is None else loss
        self._tell("set", self.names[0], seconds, self._loss)

    def _tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self._process.stdin.flush()
