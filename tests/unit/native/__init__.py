"""The native state machines without sockets: an endpoint under test, and at the other end bytes made by hand."""
