"""State machines and policies, one example at a time, without sockets."""
