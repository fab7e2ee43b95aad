"""The control API: one HTTP interface over a Unix socket in the data directory; the command line is one of
its clients.
"""
