"""towpath's tests: unit/ and property/ without sockets, net/ in namespaces, interop/ against other implementations."""
