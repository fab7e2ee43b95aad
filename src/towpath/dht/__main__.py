"""`python -m towpath.dht DESCRIPTOR`: the node starts this; nobody else has such a descriptor."""

import os
import resource
import sys

NICENESS = 5
"""Relaying comes first, from the first import on; and this process never takes a processor from who runs."""
MEMORY = 256 * 1024 * 1024
"""It needs 60 MiB of its own; one that takes so much is better off dead, and is started again."""

if __name__ == "__main__":
    os.nice(NICENESS)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    from towpath.dht.child import main

    main(int(sys.argv[1]))
