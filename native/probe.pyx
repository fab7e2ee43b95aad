"""Proves that the build works: core linked, cimport found."""
from towpath._native.probe cimport Probe
cdef extern from "sodium.h":
    const char *sodium_version_string()
cdef class Probe:
    def sodium(self) -> str:
        return sodium_version_string().decode()
