"""The network simulator: thousands of nodes that decide by the node's own policy modules, in simulated time.

Nothing of a node's policy is written here a second time: admission, quota, selection, choice, credits and scores are
imported. What is modelled is what surrounds them: people, lines, machines and the network between (`models`). Nothing
else in the package imports it but the command line.
"""
