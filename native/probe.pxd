cdef class Probe:
    cdef int x
