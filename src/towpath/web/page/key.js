// Who may ask, and whom: the token of this tab, and the proof that whoever answers knows it, too.
//
// When the node stops, another program can take its port while this tab goes on asking there. So the token leaves this
// file never: the server is asked for a proof first, and told what is good for its port and its run alone.

const TOKEN = "towpath.token";
const PORT = "towpath.port";
const FRAGMENT = /^#(token|ticket)=([\w.~-]+)/;
const RUN = /^[0-9a-f]{32}$/;
const PROOF = /^[0-9a-f]{64}$/;
const PATIENCE = 10_000;
/**
 * Without TLS on another machine a browser has no cryptography. There the token itself is said, as whoever listens on
 * the way could change this page anyhow.
 */
const PROVES = isSecureContext;

/** Whoever answers does not know the token of this tab. */
export class Stranger extends Error {}

/** Does the address hold a token or a ticket? */
export const inAddress = () => FRAGMENT.test(location.hash);

/** Has this tab a token, or something to get one for? */
export const atHand = () => inAddress() || sessionStorage.getItem(TOKEN) !== null;

/** Did whoever serves this tab prove itself before? */
export const metBefore = () => sessionStorage.getItem(PORT) !== null;

/**
 * Moves the token from the address's fragment, or for the ticket there, to where only this tab sees it; is there one?
 * Before anything is waited for, the address is a page's again.
 */
export async function take() {
  const [, kind, key] = FRAGMENT.exec(location.hash) ?? [];
  if (kind) history.replaceState(null, "", `${location.pathname}#/home`);
  const token = kind === "ticket" ? await exchanged(key) : key;
  if (token) {
    sessionStorage.removeItem(PORT);
    sessionStorage.setItem(TOKEN, token);
  }
  return sessionStorage.getItem(TOKEN) !== null;
}

/**
 * What the Authorization header says to whoever serves this page, once that proved itself. Stranger when it does not,
 * TypeError or a DOMException when nobody answers.
 */
export async function introduced() {
  const token = sessionStorage.getItem(TOKEN);
  if (!PROVES) return `Bearer ${token}`;
  const { run, port } = await proven(token);
  // The node is at one port. Another program can pass questions on to it, but not be where it is.
  const before = sessionStorage.getItem(PORT);
  if (before !== null && before !== String(port)) throw new Stranger();
  sessionStorage.setItem(PORT, port);
  return `Bearer ${hex(await crypto.subtle.sign("HMAC", await hmacKey(token, "sign"), bytes(`towpath page session ${run} ${port}`)))}`;
}

/** What the node gives for a ticket; null when that is none any more. Its secret end is said to the node only. */
async function exchanged(ticket) {
  const end = ticket.lastIndexOf(".");
  try {
    if (PROVES) await proven(ticket.slice(end + 1), ticket.slice(0, end));
    const answer = await ask("/ticket", ticket);
    return answer.ok ? (await answer.json()).token : null;
  } catch {
    return null;
  }
}

/** The run and port of whoever knows the secret, of the ticket that begins so if one is given. */
async function proven(secret, ticket) {
  const nonce = hex(crypto.getRandomValues(new Uint8Array(16)));
  const answer = await ask("/proof", ticket ? `${nonce} ${ticket}` : nonce);
  const said = answer.ok ? await answer.json().catch(notJson) : null;
  if (!RUN.test(said?.run) || !Number.isInteger(said.port) || !PROOF.test(said.proof)) throw new Stranger();
  const proof = Uint8Array.from(said.proof.match(/../g), (pair) => parseInt(pair, 16));
  const message = bytes(`towpath page proof ${said.run} ${said.port} ${nonce}`);
  if (!(await crypto.subtle.verify("HMAC", await hmacKey(secret, "verify"), proof, message))) throw new Stranger();
  return said;
}

const ask = (path, body) =>
  fetch(path, {
    method: "POST",
    body,
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
    signal: AbortSignal.timeout(PATIENCE),
  });

/** An answer that is no JSON is a stranger's; one that ends half-way is nobody's. */
function notJson(error) {
  if (error instanceof SyntaxError) return null;
  throw error;
}

const bytes = (text) => new TextEncoder().encode(text);
const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
const hmacKey = (secret, use) =>
  crypto.subtle.importKey("raw", bytes(secret), { name: "HMAC", hash: "SHA-256" }, false, [use]);
