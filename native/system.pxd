# The system calls of the data plane: epoll, sockets, the monotonic clock.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<errno.h>" nogil:
    int errno
    enum: EAGAIN
    enum: EINTR
    enum: EINPROGRESS
    enum: ECONNABORTED
    enum: EMFILE
    enum: ENFILE

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN
    enum: EPOLLOUT
    enum: EPOLLERR
    enum: EPOLLHUP
    enum: EPOLLET
    enum: EPOLL_CTL_ADD
    enum: EPOLL_CTL_MOD
    enum: EPOLL_CTL_DEL
    enum: EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)

cdef extern from "<sys/socket.h>" nogil:
    enum: SOCK_NONBLOCK
    enum: SOCK_CLOEXEC
    enum: MSG_NOSIGNAL
    enum: SHUT_WR
    enum: SOL_SOCKET
    enum: SO_ERROR
    enum: SO_MAX_PACING_RATE
    ctypedef unsigned int socklen_t
    struct sockaddr:
        uint16_t sa_family
    struct sockaddr_storage:
        uint16_t ss_family
    ssize_t recv(int fd, void* buf, size_t n, int flags)
    ssize_t send(int fd, const void* buf, size_t n, int flags)
    int shutdown(int fd, int how)
    int accept4(int fd, sockaddr* addr, socklen_t* n, int flags)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t n)
    int getsockopt(int fd, int level, int name, void* value, socklen_t* n)
    int getpeername(int fd, sockaddr* addr, socklen_t* n)

cdef extern from "<netinet/in.h>" nogil:
    enum: IPPROTO_TCP
    enum: IPPROTO_IP
    enum: IPPROTO_IPV6
    enum: IP_TOS
    enum: IPV6_TCLASS

cdef extern from "<linux/tcp.h>" nogil:
    enum: TCP_NODELAY
    enum: TCP_INFO
    enum: TCP_NOTSENT_LOWAT
    struct tcp_info:
        uint32_t tcpi_unacked          # segments
        uint32_t tcpi_last_ack_recv    # milliseconds since
        uint32_t tcpi_rtt              # microseconds, smoothed
        uint32_t tcpi_rttvar           # its mean deviation
        uint32_t tcpi_min_rtt          # the least of the last minutes
        uint64_t tcpi_bytes_acked
        uint64_t tcpi_bytes_received

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    struct timespec:
        long tv_sec
        long tv_nsec
    enum: CLOCK_MONOTONIC
    int clock_gettime(clockid_t clock, timespec* t)
