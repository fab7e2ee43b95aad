"""Can others reach this node? AutoNAT v2's policy on both sides, the router's ports, and what is told of it."""

from towpath.reachability.policy import State
from towpath.reachability.watch import Reachability

__all__ = ["Reachability", "State"]
