// Finding relays without being told any: the library's own discovery, walking the DHT of the peers it begins with.
import { bootstrap } from '@libp2p/bootstrap'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { multiaddr } from '@multiformats/multiaddr'

// Options for createLibp2p; a node with these that listens on /p2p-circuit looks for relays by itself.
export function discovery (kadPrefix, peers) {
  return {
    peerDiscovery: [bootstrap({ list: peers, timeout: 100 })],
    services: {
      dht: kadDHT({
        protocol: `${kadPrefix}/kad/1.0.0`,
        clientMode: true,
        peerInfoMapper: passthroughMapper // laboratories have private addresses
      })
    }
  }
}

// The first reservation of a node that has not started yet: its relay, and where that makes us reachable.
export function relayFound (node, signal) {
  const { reservationStore } = node.components.transportManager.getTransports()
    .find(transport => transport.reservationStore != null)
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new Error('no relay was found')))
    reservationStore.addEventListener('relay:created-reservation', ({ detail: { relay, details } }) => {
      resolve({
        relay: relay.toString(),
        addrs: details.reservation.addrs.map(bytes => multiaddr(bytes).toString()),
        voucher: details.reservation.voucher != null,
        expires: Number(details.reservation.expire)
      })
    })
  })
}
