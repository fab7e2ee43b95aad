// The control API as the page uses it: requests with the token, polls shared by who shows the same, events for life.

const TOKEN = "towpath.token";
const FIRST_WAIT = 500;
const LONGEST_WAIT = 4000;
/** Seconds without a byte after which a stream of events is taken for dead: the node says something every 15. */
const SILENCE = 40;
/** Milliseconds unseen after which a tab lets go of its stream: a browser has six connections with a server for all tabs. */
const UNSEEN = 2000;

/** What the node refused, or why it could not be asked: `message` is a sentence, `status` 0 when nobody answered. */
export class ApiError extends Error {
  constructor(message, status, facts = {}) {
    super(message);
    this.status = status;
    this.facts = facts;
  }
}

const KEY = /^#(token|ticket)=([\w.~-]+)/;

/**
 * The token from the address's fragment, or for the ticket there, moved to where only this tab sees it; null without one.
 * Before anything is waited for, the address is a page's again.
 */
async function takeToken() {
  const [, kind, key] = KEY.exec(location.hash) ?? [];
  if (kind) history.replaceState(null, "", `${location.pathname}#/home`);
  const token = kind === "ticket" ? await exchanged(key) : key;
  if (token) sessionStorage.setItem(TOKEN, token);
  return sessionStorage.getItem(TOKEN);
}

/** What the node gives for a ticket; null when that is none any more. */
async function exchanged(ticket) {
  try {
    const answer = await fetch("/ticket", { method: "POST", body: ticket, credentials: "omit", cache: "no-store" });
    return answer.ok ? (await answer.json()).token : null;
  } catch {
    return null;
  }
}

export class Api {
  constructor() {
    this.token = null;
    /** `connecting`, `up`, `down` (nobody answers) or `denied` (no token, or a wrong one). */
    this.state = KEY.test(location.hash) || sessionStorage.getItem(TOKEN) ? "connecting" : "denied";
    this.watches = new Map();
    this.stateCallbacks = new Set();
    this.eventCallbacks = new Set();
    this.events = [];
    this.lastEvent = 0;
    this.wait = FIRST_WAIT;
    this.resting = false;
    addEventListener("hashchange", () => {
      if (!KEY.test(location.hash)) return;
      this.enter();
      this.become("connecting");
    });
    document.addEventListener("visibilitychange", () => this.seen());
    this.enter();
    this.seen();
  }

  /** Takes the token that the address or this tab has; requests wait for it. */
  enter() {
    this.entered = takeToken().then((token) => {
      this.token = token;
      if (token) this.retry();
      else this.become("denied");
    });
  }

  // --- requests ----------------------------------------------------------------------------------

  get(path) {
    return this.ask("GET", path);
  }

  post(path, body = {}) {
    return this.ask("POST", path, body);
  }

  patch(path, body) {
    return this.ask("PATCH", path, body);
  }

  async ask(method, path, body) {
    const answer = await this.send(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const content = await answer.json().catch(() => null);
    if (!answer.ok) throw new ApiError(content?.error ?? `${path}: ${answer.status}`, answer.status, content ?? {});
    if (method !== "GET") this.refresh();
    return content;
  }

  async send(path, options) {
    let answer;
    await this.entered;
    try {
      answer = await fetch(path, {
        ...options,
        headers: { ...options.headers, Authorization: `Bearer ${this.token}` },
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
      });
    } catch (error) {
      if (error.name !== "AbortError") this.lost();
      throw new ApiError(error.message, 0);
    }
    if (answer.status === 401) this.become("denied");
    return answer;
  }

  // --- polls -------------------------------------------------------------------------------------

  /**
   * Calls back with what GET of a path answers, now and every so many seconds while the page is seen; at once after an
   * event, a change or a restart of the node. Returns what ends that. Who watches the same path shares its requests.
   */
  watch(path, seconds, callback) {
    let watch = this.watches.get(path);
    if (!watch) {
      watch = { path, callbacks: new Map(), timer: 0, asking: false, again: false, value: undefined, at: 0 };
      this.watches.set(path, watch);
    }
    watch.callbacks.set(callback, seconds);
    if (watch.value !== undefined && performance.now() - watch.at < 1000 * seconds) callback(watch.value);
    this.poll(watch);
    return () => {
      watch.callbacks.delete(callback);
      if (watch.callbacks.size) return;
      clearTimeout(watch.timer);
      if (this.watches.get(path) === watch) this.watches.delete(path);
    };
  }

  async poll(watch) {
    if (watch.asking) {
      watch.again = true;
      return;
    }
    clearTimeout(watch.timer);
    if (!watch.callbacks.size || this.state === "denied" || this.state === "down" || document.hidden) return;
    watch.asking = true;
    try {
      watch.value = await this.get(watch.path);
      watch.at = performance.now();
      for (const callback of [...watch.callbacks.keys()]) callback(watch.value);
    } catch (error) {
      // What is refused now is asked again; that nobody answers is told by the state.
      if (!(error instanceof ApiError)) throw error;
    } finally {
      watch.asking = false;
      const again = watch.again;
      watch.again = false;
      clearTimeout(watch.timer);
      if (again) watch.timer = setTimeout(() => this.poll(watch), 50);
      else watch.timer = setTimeout(() => this.poll(watch), 1000 * Math.min(...watch.callbacks.values(), 60));
    }
  }

  /** Asks anew for everything that is watched. */
  refresh() {
    for (const watch of this.watches.values()) this.poll(watch);
  }

  // --- events ------------------------------------------------------------------------------------

  /** Calls back with each event, those remembered first. Returns what ends that. */
  onEvent(callback) {
    for (const event of this.events) callback(event);
    this.eventCallbacks.add(callback);
    return () => this.eventCallbacks.delete(callback);
  }

  /** Calls back with the state, now and whenever it changes. Returns what ends that. */
  onState(callback) {
    callback(this.state);
    this.stateCallbacks.add(callback);
    return () => this.stateCallbacks.delete(callback);
  }

  become(state) {
    if (state === this.state) return;
    this.state = state;
    for (const callback of [...this.stateCallbacks]) callback(state);
    if (state === "up") this.refresh();
  }

  /** Rests while nobody sees the page, and goes on where it was. */
  seen() {
    clearTimeout(this.unseen);
    if (document.hidden) {
      this.unseen = setTimeout(() => {
        this.resting = true;
        this.streaming?.abort();
      }, UNSEEN);
      return;
    }
    this.resting = false;
    this.wait = FIRST_WAIT;
    this.retry();
    this.refresh();
  }

  /** A request found nobody: the stream of events will find out when somebody is back. */
  lost() {
    if (this.state !== "down") this.become("down");
    this.streaming?.abort();
  }

  /** Follows the node's events for ever; whatever ends the stream, it is begun again. */
  async follow() {
    for (;;) {
      await this.entered;
      if (this.token && this.state !== "denied" && !this.resting) {
        this.streaming = new AbortController();
        try {
          await this.stream(this.streaming);
        } catch (error) {
          if (!(error instanceof ApiError) && error.name !== "AbortError" && !(error instanceof TypeError))
            reportError(error);
        }
        if (this.state !== "denied" && !this.resting) this.become("down");
      }
      await new Promise((resolve) => {
        this.retry = resolve;
        if (!this.resting) setTimeout(resolve, this.wait);
      });
      this.wait = Math.min(LONGEST_WAIT, this.wait * 1.5);
    }
  }

  retry() {}

  async stream(controller) {
    const answer = await this.send(`/v1/events?after=${this.lastEvent}`, { signal: controller.signal });
    if (!answer.ok || !answer.body) throw new ApiError(`/v1/events: ${answer.status}`, answer.status);
    this.wait = FIRST_WAIT;
    this.become("up");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    let silence = 0;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => controller.abort(), 1000 * SILENCE);
    };
    try {
      for (;;) {
        alive();
        const { value, done } = await reader.read();
        if (done) return;
        text += value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        const events = blocks.map(eventOf).filter(Boolean);
        if (events.length) this.told(events);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  told(events) {
    for (const event of events) {
      if (event.id <= this.lastEvent) continue;
      this.lastEvent = event.id;
      this.events.push(event);
      for (const callback of [...this.eventCallbacks]) callback(event);
    }
    this.events.splice(0, this.events.length - 512);
    if (events.some((event) => REFRESHING.has(event.kind))) this.refresh();
  }
}

/** Kinds of events after which what is shown may be another. */
const REFRESHING = new Set(["relay_state", "setting_changed", "relay_changed", "reachability"]);

function eventOf(block) {
  const data = block
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart());
  if (!data.length) return null;
  try {
    const event = JSON.parse(data.join("\n"));
    return typeof event?.id === "number" ? event : null;
  } catch {
    return null;
  }
}
