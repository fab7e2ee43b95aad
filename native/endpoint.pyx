# cython: language_level=3
"""An endpoint: one identity with its listeners, its connections and the protocols it speaks.

A process may hold several; they share a reactor and nothing else.
"""
from functools import partial
import os
import socket

from libc.stdint cimport uint8_t, uint64_t

from towpath._native.appstream cimport AppProtocol, AppStream
from towpath._native.budget cimport Budget
from towpath._native.channel cimport Channel, MemoryChannel, SocketChannel
from towpath._native.core cimport TP_ED25519_PB, tp_bytequeue_size, tp_multiaddr_of_socket
from towpath._native.core cimport sockaddr as core_sockaddr
from towpath._native.handshake cimport Identity
from towpath._native.hop cimport HopProtocol, Relay
from towpath._native.identify cimport IdentifyProtocol, IdentifyPushProtocol, ask, push
from towpath._native.inner cimport StreamChannel
from towpath._native.negotiate cimport listen
from towpath._native.peers cimport Peer
from towpath._native.ping import PingProtocol
from towpath._native.reactor cimport HEADROOM, Pollable, Reactor
from towpath._native.session cimport Session, SessionOwner, Stream
from towpath._native.system cimport (
    ECONNABORTED, EINPROGRESS, EINTR, EMFILE, ENFILE, EPOLLIN, IP_TOS, IPPROTO_IP, IPPROTO_IPV6, IPV6_TCLASS,
    SOCK_CLOEXEC, SOCK_NONBLOCK, accept4, close, errno, setsockopt, sockaddr, sockaddr_storage, socklen_t,
)

cdef enum:
    HANDSHAKE_MS = 14500       # "within 15 s", the timer's tick included
    ACCEPTS = 16               # an event
    REST_MS = 500              # no accepting for so long when descriptors have run out

HOP_ID = "/libp2p/circuit/relay/0.2.0/hop"
cdef str SHUTTING_DOWN = "this node is shutting down"


class HandshakeFailed(Exception):
    """A connection could not be set up; the text says why."""


class WrongIdentity(HandshakeFailed):
    """The other end proved to be somebody else."""


cdef class Listener(Pollable):
    """A listening TCP socket."""

    cdef void on_readable(self) noexcept:
        cdef sockaddr_storage address
        cdef socklen_t n
        cdef uint8_t remote[22]
        cdef int fd, k
        for k in range(ACCEPTS):
            n = sizeof(address)
            fd = accept4(self.fd, <sockaddr*>&address, &n, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                if errno == EMFILE or errno == ENFILE:
                    # Level-triggered readiness would spin: rest until some descriptor is free again.
                    self.reactor.want(self, 0x80000000u)
                    self.reactor.arm(self, REST_MS)
                    return
                if errno == EINTR or errno == ECONNABORTED:
                    continue
                return
            k = tp_multiaddr_of_socket(<core_sockaddr*>&address, remote)
            if k < 0 or self.endpoint.connections >= self.endpoint.max_connections:
                close(fd)
                continue
            self.endpoint.accept(fd, remote[:k])

    cdef void on_timer(self) noexcept:
        self.reactor.want(self, EPOLLIN)

    def stop(self):
        """Closes the listening socket."""
        if self.fd >= 0:
            self.cancel_timer()
            self.reactor.unregister(self)
            self.fd = -1
            self.socket.close()


cdef class Endpoint(SessionOwner):
    """See the module. `seed`: 32 bytes of its Ed25519 key. Everything is called on the loop's thread."""

    def __init__(self, Reactor reactor not None, bytes seed not None, str agent="towpath"):
        self.reactor = reactor
        self.identity = Identity(seed)
        self.agent = agent
        self.peers = {}
        self.listeners = []
        self.dialing = {}
        self.handshaking = set()
        self.addresses = []
        self.max_connections = 1 << 30
        self.idle_ms = 60000
        self.inner_idle_ms = 300000
        self.identify = IdentifyProtocol()
        pushed = IdentifyPushProtocol()
        (<IdentifyPushProtocol>pushed).on_identified = self._identified
        self.protocols = {
            b"/ipfs/id/1.0.0": self.identify,
            b"/ipfs/id/push/1.0.0": pushed,
            b"/ipfs/ping/1.0.0": PingProtocol(),
        }
        self._publish()

    @property
    def peer_id(self):
        return self.identity.peer_id

    def _publish(self):
        self.identify.publish(self.identity.key_pb[:TP_ED25519_PB], self.agent, self.addresses, list(self.protocols))

    def set_addresses(self, list addresses not None):
        """The multiaddrs (bytes) that identify tells."""
        self.addresses = addresses
        self._publish()

    def push_identify(self):
        """Tells every connected peer anew who we are."""
        cdef Peer peer
        cdef Session session
        for peer in self.peers.values():
            for session in peer.sessions:
                push(session, self.identify)

    def set_handler(self, str protocol not None, accepted):
        """accepted(AppStream) is called for each inbound stream of `protocol`; None takes the protocol away."""
        if accepted is None:
            self.protocols.pop(protocol.encode(), None)
        else:
            self.protocols[protocol.encode()] = AppProtocol(protocol, accepted)
        self._publish()

    def start_relaying(self, policy):
        """Offers HOP with this policy (see hop.Relay); returns the Relay."""
        cdef Relay relay = Relay(policy)
        relay.reactor = self.reactor
        relay.me = self.identity
        relay.peers = self.peers
        relay.budget = self.budget
        self.relay = relay
        self.protocols[HOP_ID.encode()] = HopProtocol(relay)
        self._publish()
        return relay

    def set_budget(self, Budget budget):
        """Lets a budget count and limit the bytes of all sockets from now on; those that are open already stay as they
        are, so call it before listening."""
        self.budget = budget
        if self.relay is not None:
            self.relay.budget = budget

    def offer_relaying(self, bint offered):
        """Shows HOP to peers, as `start_relaying` does, or takes it back while circuits and reservations go on;
        `push_identify` tells them."""
        if self.relay is None:
            return
        if offered:
            self.protocols[HOP_ID.encode()] = HopProtocol(self.relay)
        else:
            self.protocols.pop(HOP_ID.encode(), None)
        self._publish()

    def stop_relaying(self):
        """Withdraws HOP and all reservations and resets the circuits."""
        if self.relay is None:
            return
        self.protocols.pop(HOP_ID.encode(), None)
        self.relay.stopped = True
        for circuit in list(self.relay.circuits.values()):
            circuit.close()
        for peer_id in list(self.relay.reservations):
            self.relay.withdraw(peer_id)
        self.relay = None
        self._publish()

    # --- connections -------------------------------------------------------------------------

    cdef list socket_channels(self):
        # Those that exist now, handshakes under way included.
        cdef Session session
        cdef list found = [c for c in list(self.handshaking) + list(self.dialing) if isinstance(c, SocketChannel)]
        for peer in self.peers.values():
            for session in peer.sessions:
                if isinstance(session.channel, SocketChannel):
                    found.append(session.channel)
        return found

    def set_traffic_class(self, int traffic_class):
        """Marks the packets of all its sockets, those there are and those to come (DSCP in the upper six bits)."""
        cdef SocketChannel c
        cdef Listener listener
        self.traffic_class = traffic_class
        for listener in self.listeners:
            mark(listener.fd, traffic_class)
        for c in self.socket_channels():
            mark(c.fd, traffic_class)

    def listen(self, str host not None, int port, bint reuse_port=False):
        """Listens on an IP address; returns the bound port. OSError when it is taken."""
        cdef Listener listener
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        s = socket.socket(family, socket.SOCK_STREAM)
        try:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if reuse_port:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            set_options(s)
            if self.traffic_class:
                mark(s.fileno(), self.traffic_class)
            s.setblocking(False)
            s.bind((host, port))
            s.listen(4096)
        except BaseException:
            s.close()
            raise
        listener = Listener.__new__(Listener)
        listener.reactor = self.reactor
        listener.endpoint = self
        listener.socket = s
        listener.fd = s.fileno()
        self.reactor.register(listener, EPOLLIN)
        self.listeners.append(listener)
        return s.getsockname()[1]

    def stop_listening(self):
        """Closes all listeners; connections stay."""
        for listener in self.listeners:
            listener.stop()
        self.listeners.clear()

    cdef void accept(self, int fd, bytes remote) noexcept:
        cdef SocketChannel c = SocketChannel.__new__(SocketChannel)
        c.fd = fd
        c.remote = remote
        c.reactor = self.reactor
        c.meter = self.budget
        c.observer = self.observer
        try:
            self.reactor.register(c, EPOLLIN)
        except OSError:
            close(fd)
            return
        self.accepted += 1
        self.connections += 1
        self.handshaking.add(c)
        c.start(self.reactor, self.identity, False, self, HANDSHAKE_MS)

    def dial(self, str host not None, int port, bytes expected_peer=None, uint64_t timeout_ms=HANDSHAKE_MS):
        """Connects to an IP address. A future of the Session; cancelling it closes the connection. Raises, now or
        through the future, OSError when there is no connection, HandshakeFailed when there is one and no more,
        WrongIdentity when the other end is not `expected_peer`."""
        cdef SocketChannel c
        if self.closed:
            raise HandshakeFailed(SHUTTING_DOWN)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        s = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            set_options(s)
            if self.traffic_class:
                mark(s.fileno(), self.traffic_class)
            r = s.connect_ex((host, port))
            if r not in (0, EINPROGRESS):
                raise OSError(r, os.strerror(r))
            c = SocketChannel.__new__(SocketChannel)
            c.fd = s.fileno()
            c.remote = pack_remote(host, port)
            c.expected_peer = expected_peer
            c.reactor = self.reactor
            c.meter = self.budget
            c.observer = self.observer
            self.reactor.register(c, EPOLLIN)
        except BaseException:
            s.close()
            raise
        s.detach()
        future = self._expect(c)
        c.start(self.reactor, self.identity, True, self, timeout_ms)
        return future

    cdef object _expect(self, Channel c):
        # A future of the session that the dialed channel is to carry.
        future = self.reactor.loop.create_future()
        future.add_done_callback(partial(_given_up, c))
        self.dialing[c] = future
        self.connections += 1
        return future

    def wrap(self, AppStream stream not None, bint initiator, bytes expected_peer, bytes via not None):
        """Makes a secured connection inside a stream, which belongs to it from now on. A future of the Session, as that
        of `dial`."""
        cdef StreamChannel c = StreamChannel.__new__(StreamChannel)
        cdef Stream s = stream.stream
        if self.closed:
            raise HandshakeFailed(SHUTTING_DOWN)
        if s is None or s.gone or stream.ended:
            raise HandshakeFailed("the circuit is closed already")
        c.expected_peer = expected_peer
        c.via = via
        c.remote = b""
        c.reactor = self.reactor
        c.over(s)
        future = self._expect(c)
        c.start(self.reactor, self.identity, initiator, self, HANDSHAKE_MS)
        if tp_bytequeue_size(&stream.inbox) and not c.closed:
            early = stream.read(tp_bytequeue_size(&stream.inbox))
            feed_copy(c, early)
        return future

    def over_memory(self, bint initiator, sent, bytes remote not None=b""):
        """A connection over nothing: returns a MemoryChannel whose `receive(bytes)` takes what the other end sent, and
        which calls sent(bytes). `remote`: the multiaddr that the other end seems to have. For tests and instruction
        counts, without sockets."""
        cdef MemoryChannel c = MemoryChannel.__new__(MemoryChannel)
        c.remote = remote
        c.reactor = self.reactor
        c.sent = sent
        self.connections += 1
        self.handshaking.add(c)
        c.start(self.reactor, self.identity, initiator, self, HANDSHAKE_MS)
        return c

    cdef void on_opened(self, Channel channel) noexcept:
        cdef Session session = Session.__new__(Session)
        cdef Peer peer
        future = self.dialing.pop(channel, None)
        self.handshaking.discard(channel)
        if future is not None and future.cancelled():
            # Given up a moment ago, and nobody shall find it.
            self.connections -= 1
            channel.fail("nobody waits for it any more")
            return
        session.begin(channel, self, self.inner_idle_ms if channel.via else self.idle_ms)
        peer = self.peers.get(channel.peer_id)
        if peer is None:
            self.peers[channel.peer_id] = peer = Peer(channel.peer_id)
        peer.sessions.append(session)
        if self.ask_identify:
            ask(session, self._identified)
        if future is not None and not future.done():
            future.set_result(session)
        if self.on_session is not None:
            self.on_session(session)

    def _identified(self, session):
        if self.on_identified is not None:
            self.on_identified(session)

    cdef void on_open_failed(self, Channel channel, str why) noexcept:
        self.connections -= 1
        self.handshakes_failed += 1
        self.handshaking.discard(channel)
        future = self.dialing.pop(channel, None)
        if future is None or future.done():
            return
        if channel.os_error:
            future.set_exception(OSError(channel.os_error, os.strerror(channel.os_error)))
        else:
            future.set_exception(HandshakeFailed(why) if channel.peer_id is None else WrongIdentity(why))

    cdef void on_stream(self, Session session, Stream s) noexcept:
        listen(session, s, self.protocols)

    cdef void on_session_closed(self, Session session, str why) noexcept:
        cdef Peer peer = self.peers.get(session.channel.peer_id)
        self.connections -= 1
        if peer is not None:
            if session in peer.sessions:
                peer.sessions.remove(session)
            if not peer.sessions:
                del self.peers[peer.id]
        if self.relay is not None:
            self.relay.session_gone(session)
        if self.on_session_end is not None:
            self.on_session_end(session, why)

    def session_of(self, bytes peer_id not None):
        """The newest usable Session with a peer, or None."""
        cdef Peer peer = self.peers.get(peer_id)
        return None if peer is None else peer.best()

    def close(self):
        """Stops listening and closes every connection."""
        cdef Channel channel
        if self.closed:
            return
        self.closed = True
        self.stop_listening()
        self.stop_relaying()
        for peer in list(self.peers.values()):
            for session in list(peer.sessions):
                session.close()
        for channel in list(self.handshaking) + list(self.dialing):
            channel.fail(SHUTTING_DOWN)

    def abort(self):
        """Closes at once whatever `close` left to be sent."""
        for peer in list(self.peers.values()):
            for session in list(peer.sessions):
                session.abort()


def _given_up(Channel channel not None, future):
    if future.cancelled():
        channel.fail("nobody waits for it any more")


cdef void feed_copy(Channel c, bytes data) noexcept:
    # Bytes that came before the channel was there, with room to overwrite before them.
    cdef bytes spaced = bytes(HEADROOM) + data
    c.feed_piece(<uint8_t*><const uint8_t*>spaced + HEADROOM, len(data))


def set_options(s):
    """What every TCP socket of ours has; accepted ones inherit it from their listener. A dead peer is noticed after two
    minutes."""
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


cdef void mark(int fd, int traffic_class) noexcept:
    # One of the two is refused, depending on the family; accepted sockets inherit it from their listener.
    setsockopt(fd, IPPROTO_IP, IP_TOS, &traffic_class, sizeof(traffic_class))
    setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &traffic_class, sizeof(traffic_class))


def pack_remote(str host not None, int port):
    """Binary multiaddr of an IP address and a TCP port."""
    if ":" in host:
        return b"\x29" + socket.inet_pton(socket.AF_INET6, host.partition("%")[0]) + b"\x06" + port.to_bytes(2, "big")
    return b"\x04" + socket.inet_pton(socket.AF_INET, host) + b"\x06" + port.to_bytes(2, "big")


def pin_session(Session session not None, int by):
    """Keeps a session though no stream is open (+1), or no longer (-1)."""
    session.pin(by)
