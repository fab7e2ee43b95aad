// The control API as the page uses it: requests of who may ask, polls shared by who shows the same, events for life.

import { atHand, inAddress, introduced, metBefore, Stranger, take } from "./key.js";

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

export class Api {
  constructor() {
    /**
     * `connecting`, `up`, `down` (nobody answers), `stranger` (somebody does who is not the node) or `denied` (no token,
     * or a wrong one).
     */
    this.state = atHand() ? "connecting" : "denied";
    /** A promise of what requests say of who asks, once whoever answers proved itself. */
    this.introduction = null;
    this.watches = new Map();
    this.stateCallbacks = new Set();
    this.eventCallbacks = new Set();
    this.events = [];
    this.lastEvent = 0;
    this.wait = FIRST_WAIT;
    this.resting = false;
    addEventListener("hashchange", () => {
      if (!inAddress()) return;
      this.enter();
      this.become("connecting");
    });
    document.addEventListener("visibilitychange", () => this.seen());
    this.enter();
    this.seen();
  }

  /** Takes the token that the address or this tab has; requests wait for it. */
  enter() {
    this.entered = take().then((there) => {
      this.introduction = null;
      if (there) this.retry();
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

  async send(path, options, again = true) {
    let answer;
    await this.entered;
    try {
      answer = await fetch(path, {
        ...options,
        headers: { ...options.headers, Authorization: await this.introduced() },
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
      });
    } catch (error) {
      if (error instanceof Stranger) this.strange();
      else if (error.name !== "AbortError") this.lost();
      throw new ApiError(error.message, 0);
    }
    if (answer.status !== 401) return answer;
    // The node was started again since it proved itself.
    this.introduction = null;
    if (again) return this.send(path, options, false);
    this.become("denied");
    return answer;
  }

  introduced() {
    if (!this.introduction) {
      const mine = introduced();
      this.introduction = mine;
      mine.catch(() => {
        if (this.introduction === mine) this.introduction = null;
      });
    }
    return this.introduction;
  }

  // --- polls -------------------------------------------------------------------------------------

  /**
   * Calls back with what GET of a path answers, now and every so many seconds while the page is seen; at once after an
   * event, a change or a restart of the node. Returns what ends that. Who watches the same path shares its requests; the
   * same callback again has other seconds from then on.
   * In place of a path there may be `{name, path(), take(answer)}`: what is asked each time, and what is made of it.
   */
  watch(source, seconds, callback) {
    const asked = typeof source === "string" ? { name: source, path: () => source, take: (answer) => answer } : source;
    const path = asked.name;
    let watch = this.watches.get(path);
    if (!watch) {
      watch = { asked, callbacks: new Map(), timer: 0, asking: false, again: false, value: undefined, at: 0 };
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
    if (!watch.callbacks.size || AWAY.has(this.state) || document.hidden) return;
    watch.asking = true;
    try {
      watch.value = watch.asked.take(await this.get(watch.asked.path()));
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
    this.become("down");
    this.streaming?.abort();
  }

  /** Whoever answers is not the node. At the first visit the token is wrong; later it is asked again who is there. */
  strange() {
    this.become(metBefore() ? "stranger" : "denied");
    this.streaming?.abort();
  }

  /** Follows the node's events for ever; whatever ends the stream, it is begun again. */
  async follow() {
    for (;;) {
      await this.entered;
      if (this.state !== "denied" && !this.resting) {
        this.streaming = new AbortController();
        try {
          await this.stream(this.streaming);
        } catch (error) {
          if (!(error instanceof ApiError) && error.name !== "AbortError" && !(error instanceof TypeError))
            reportError(error);
        }
        // Whoever is there next has to prove itself anew.
        this.introduction = null;
        if (!AWAY.has(this.state) && !this.resting) this.become("down");
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

/** States in which there is nobody to ask. */
const AWAY = new Set(["down", "stranger", "denied"]);
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
