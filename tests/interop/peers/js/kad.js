// A js-libp2p server of a DHT of ours: `node kad.js PROTOCOL`; prints `ready`, ends when its standard input closes.
import './polyfill.js'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { emit } from './exchange.js'

const anything = async () => {} // its own records are its own affair; ours are checked by us
const first = () => 0

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({
      protocol: process.argv[2],
      clientMode: false,
      peerInfoMapper: passthroughMapper,
      validators: { relays: anything, towpath: anything },
      selectors: { relays: first, towpath: first }
    })
  }
})
emit('ready', { peer_id: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) })
for await (const _ of process.stdin) { /* nothing is asked of it */ }
await node.stop()
process.exit(0)
