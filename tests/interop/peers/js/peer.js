// A js-libp2p host that plays relay, listener or dialer in the interop matrix;
// peers/README.md defines its command line and the JSON lines it prints.
import './polyfill.js'
import { isIPv6 } from 'node:net'
import { parseArgs } from 'node:util'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { discovery, relayFound } from './discover.js'
import { dial, emit, serve } from './exchange.js'

const PATIENCE = 60_000

function relayService () {
  return circuitRelayServer({
    reservations: { maxReservations: 4096, applyDefaultLimit: false },
    maxInboundHopStreams: 4096,
    maxOutboundHopStreams: 4096,
    maxOutboundStopStreams: 4096
  })
}

function createNode (listen, services, more) {
  return createLibp2p({
    start: false,
    addresses: { listen },
    transports: [tcp(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { inboundConnectionThreshold: Infinity, maxIncomingPendingConnections: 1000 },
    ...more,
    services: { identify: identify(), ping: ping(), ...more?.services, ...services }
  })
}

function announce (node) {
  emit('ready', {
    peer_id: node.peerId.toString(),
    addrs: node.getMultiaddrs().map(String).filter(address => !address.includes('/p2p-circuit'))
  })
}

async function untilStdinCloses () {
  for await (const _ of process.stdin) { /* nothing is asked of a running peer */ }
}

function reserved (node, relay) {
  const id = multiaddr(relay).getComponents().find(part => part.name === 'p2p').value
  const { reservationStore } = node.components.transportManager.getTransports()
    .find(transport => transport.reservationStore != null)
  const connection = node.getConnections().find(each => each.remotePeer.toString() === id)
  const reservation = reservationStore.getReservation(connection.remotePeer)
  if (reservation == null) {
    throw new Error(`no reservation at ${relay}`)
  }
  emit('reserved', {
    relay: id,
    addrs: reservation.addrs.map(bytes => multiaddr(bytes).toString()),
    voucher: reservation.voucher != null,
    expires: Number(reservation.expire)
  })
}

async function run (role, options) {
  const listen = []
  if (options.listen != null) {
    listen.push(`/${isIPv6(options.listen) ? 'ip6' : 'ip4'}/${options.listen}/tcp/0`)
  }
  if (options.relay != null) {
    listen.push(`${options.relay}/p2p-circuit`)
  }
  if (options.discover != null) {
    listen.push('/p2p-circuit')
  }
  const more = options.discover == null ? {} : discovery(options.kad, options.discover)
  const node = await createNode(listen, role === 'relay' ? { relay: relayService() } : {}, more)
  const found = options.discover == null ? undefined : relayFound(node, AbortSignal.timeout(PATIENCE))
  await node.start()
  const limited = { runOnLimitedConnection: options['allow-limited'] }
  if (role === 'relay') {
    announce(node)
    await untilStdinCloses()
  } else if (role === 'listener') {
    await serve(node, limited)
    announce(node)
    if (options.relay != null) {
      reserved(node, options.relay)
    }
    if (found != null) {
      emit('reserved', await found)
    }
    await untilStdinCloses()
  } else if (role === 'dialer') {
    announce(node)
    const signal = AbortSignal.timeout(PATIENCE)
    const connection = await node.dial(multiaddr(options.target), { signal })
    emit('connected', { limited: connection.limits != null })
    const size = Number(options.bytes)
    const chunkBytes = options.whole ? size : undefined
    await dial(connection, { seed: options.seed, size, chunkBytes }, { signal, ...limited })
    // What was sent last may still be on its way.
    await untilStdinCloses()
  } else {
    throw new Error(`unknown role ${role}`)
  }
  await node.stop()
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      listen: { type: 'string' },
      relay: { type: 'string' },
      discover: { type: 'string', multiple: true },
      kad: { type: 'string', default: '/ipfs' },
      target: { type: 'string' },
      seed: { type: 'string', default: '' },
      bytes: { type: 'string', default: String(16 << 20) },
      whole: { type: 'boolean', default: false },
      'allow-limited': { type: 'boolean', default: false }
    }
  })
  await run(positionals[0], values)
  process.exit(0)
} catch (error) {
  emit('error', { message: String(error?.stack ?? error) })
  process.exit(1)
}
