"""The scenarios by their names; each is loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import Final

from towpath.sim.scenario import Scenario

__all__ = ["SCENARIOS", "scenario"]

SCENARIOS: Final = {
    "rollout": "Six months: volunteers come, the bootstrap relays are switched off one by one.",
    "churn": "Relays come and go faster and faster: what becomes of those who use them.",
    "flash-crowd": "Everybody wants something in the same hour: who is served, and how.",
    "capacity": "How many users a volunteer can carry.",
    "day": "One ordinary day of a large network: for measuring the simulator itself.",
}
"""What each is about."""


def scenario(name: str) -> Scenario:
    """The scenario of this name; KeyError when there is none."""
    SCENARIOS[name]
    module = importlib.import_module(f"towpath.sim.scenarios.{name.replace('-', '_')}")
    found: Scenario = module.SCENARIO
    return found
