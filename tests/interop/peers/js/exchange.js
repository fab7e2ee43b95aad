// The three test protocols, as their server and as their client.
import { createHash } from 'node:crypto'

const ECHO = '/towpath-test/echo/1.0.0'
const LATE = '/towpath-test/late-answer/1.0.0'
const EARLY = '/towpath-test/early-close/1.0.0'

const SIDE_BYTES = 1 << 20
const REQUEST_BYTES = 1024
const GREETING = 'towpath'
const CHUNK = 1 << 16

export function emit (event, fields = {}) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')
}

// SHAKE-256 of the seed, cut to size: every peer derives the same bytes from a seed.
function expand (seed, size) {
  return createHash('shake256', { outputLength: size }).update(seed).digest()
}

class Tally {
  bytes = 0
  #hash = createHash('sha256')

  add (chunk) {
    this.bytes += chunk.byteLength
    this.#hash.update(chunk)
  }

  sum () {
    return this.#hash.copy().digest('hex')
  }
}

// The chunks of a stream up to the other side's close. The library's own iterator waits
// for an event that has already passed when data and close arrived with the negotiation.
async function * incoming (stream) {
  const queue = []
  let wake = () => {}
  let failure
  stream.addEventListener('message', ({ data }) => {
    queue.push(data.subarray())
    wake()
  })
  stream.addEventListener('remoteCloseWrite', () => wake())
  stream.addEventListener('close', ({ error }) => {
    failure = error
    wake()
  })
  while (true) {
    while (queue.length > 0) {
      yield queue.shift()
    }
    if (failure != null || stream.status === 'aborted' || stream.status === 'reset') {
      throw failure ?? new Error(`the stream was ${stream.status}`)
    }
    if (stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0) {
      return
    }
    await new Promise(resolve => { wake = resolve })
  }
}

// Writes one chunk and waits until the next is welcome. The library's onDrain() answers at
// once from its second call on; without waiting, one frame would grow as large as the window,
// and rust-libp2p ends connections over frames of more than 1 MiB.
async function write (stream, chunk) {
  if (stream.send(chunk)) {
    return
  }
  await new Promise((resolve, reject) => {
    const closed = ({ error }) => reject(error ?? new Error('the stream was closed'))
    stream.addEventListener('close', closed, { once: true })
    stream.addEventListener('drain', () => {
      stream.removeEventListener('close', closed)
      resolve()
    }, { once: true })
  })
}

async function send (stream, bytes, tally, chunkBytes = CHUNK) {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
    const chunk = bytes.subarray(at, at + chunkBytes)
    tally?.add(chunk)
    await write(stream, chunk)
  }
  await stream.close()
}

async function absorb (stream, tally, keep) {
  for await (const chunk of incoming(stream)) {
    tally?.add(chunk)
    keep?.push(chunk)
  }
}

async function echo (stream, tally) {
  for await (const chunk of incoming(stream)) {
    tally.add(chunk)
    await write(stream, chunk)
  }
  await stream.close()
}

async function answerLate (stream, tally) {
  const request = []
  await absorb(stream, tally, request)
  await send(stream, expand(Buffer.concat(request), SIDE_BYTES))
}

async function closeEarly (stream, tally) {
  const received = absorb(stream, tally)
  stream.send(Buffer.from(GREETING))
  await stream.close()
  await received
}

export async function serve (node, options) {
  for (const [protocol, handler] of [[ECHO, echo], [LATE, answerLate], [EARLY, closeEarly]]) {
    await node.handle(protocol, async stream => {
      const tally = new Tally()
      try {
        await handler(stream, tally)
        emit('served', { protocol, bytes: tally.bytes, sha256: tally.sum() })
      } catch (error) {
        stream.abort(error)
        emit('failed', { protocol, message: String(error) })
      }
    }, options)
  }
}

// Runs the three exchanges on a connection and prints what they brought. Echoes chunks of chunkBytes.
export async function dial (connection, { seed, size, chunkBytes }, options) {
  const sent = new Tally()
  const received = new Tally()
  const echoed = await connection.newStream(ECHO, options)
  await Promise.all([absorb(echoed, received), send(echoed, expand(seed, size), sent, chunkBytes)])
  emit('echo', {
    sent: sent.bytes,
    sent_sha256: sent.sum(),
    received: received.bytes,
    received_sha256: received.sum()
  })

  const answer = new Tally()
  const late = await connection.newStream(LATE, options)
  await Promise.all([absorb(late, answer), send(late, expand(seed, REQUEST_BYTES))])
  emit('late-answer', { received: answer.bytes, received_sha256: answer.sum() })

  const greeting = []
  const rest = new Tally()
  const early = await connection.newStream(EARLY, options)
  await absorb(early, null, greeting)
  await send(early, expand(seed, SIDE_BYTES), rest)
  emit('early-close', {
    greeting: Buffer.concat(greeting).toString(),
    sent: rest.bytes,
    sent_sha256: rest.sum()
  })
}
