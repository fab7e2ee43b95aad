"""A terminal chat over towpath: what an application of its own looks like."""
