"""Running a scenario to its end, or until somebody wants it to stop: what was computed until then is kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

from towpath.sim.engine import Engine
from towpath.sim.models import DAY_S
from towpath.sim.scenario import Judged, Part, Ran, Scenario

__all__ = ["Result", "Runner"]


class Result(NamedTuple):
    """What a run came to."""

    scenario: str
    nodes: int
    seed: int
    parts: list[Ran]
    judged: Judged
    events: int
    seconds: float
    complete: bool


Watch = Callable[[str, float, int], None]


def _told(watch: Watch | None, part: Part, before: int) -> Callable[[float, int], None] | None:
    if watch is None:
        return None
    begin, length, label = part.world.begin, part.world.ends - part.world.begin, part.label
    return lambda now, events: watch(label, (now - begin) / length, before + events)


class Runner:
    """Runs one scenario. `stop` may be called from a signal handler."""

    def __init__(self, scenario: Scenario, nodes: int | None = None, seed: int = 1) -> None:
        self.scenario = scenario
        self.nodes = scenario.nodes if nodes is None else nodes
        self.seed = seed
        self.stopped = False
        self._engine: Engine | None = None

    def stop(self) -> None:
        """Ends the run after the present event."""
        self.stopped = True
        if self._engine is not None:
            self._engine.stop()

    def run(self, watch: Watch | None = None) -> Result:
        """`watch(part, share of it that is done, events)` is called every few thousand events."""
        began = time.perf_counter()
        ran: list[Ran] = []
        events = 0
        enabled = gc.isenabled()
        # What lives in a world lives to its end: looking through it for garbage takes a third of the time.
        gc.disable()
        try:
            for part in self.scenario.parts(self.nodes, self.seed):
                if self.stopped:
                    break
                world, done = part.world, events
                self._engine = world.engine
                complete = world.run(_told(watch, part, done), every_s=part.every_s)
                if not complete:
                    world.metrics.sample(world)
                events += world.engine.events
                days = (world.engine.now - world.begin) / DAY_S
                ran.append(
                    Ran(part.label, world.metrics.rows, world.notes, world.engine.events, days, complete, world.metrics)
                )
                self._engine = None
                world.close()
                del world, part
                gc.collect()
        finally:
            if enabled:
                gc.enable()
        judged = self.scenario.judge(ran) if ran else Judged((), (), ())
        complete = not self.stopped and all(one.complete for one in ran)
        seconds = time.perf_counter() - began
        return Result(self.scenario.name, self.nodes, self.seed, ran, judged, events, seconds, complete)
