"""The DHT's process: py-libp2p's kad-dht on trio, behind a host of ours that has no sockets of its own.

Only modules of this package import py-libp2p, and only in the child process; `messages` is the seam to the node
(towpath.discovery.dht), which both import.
"""
