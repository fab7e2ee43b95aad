// Home: is it on, is it helping, what did it bring, and how to stop it for a while.

import { clockHour, milliseconds, number, percent, shortId, size } from "../format.js";
import { card, facts, note, pageHead, tiles } from "../parts/card.js";
import { options } from "../parts/choice.js";
import { actions } from "../parts/dialog.js";
import { fill, h, icon, say, show } from "../parts/dom.js";
import { meter, stars } from "../parts/meter.js";
import { sinceInWords, stateInWords } from "../parts/state.js";
import { attempt, toast } from "../parts/toast.js";
import { capital, known, t } from "../parts/words.js";

export const title = t("home.title");
const MODES = ["client", "cooperative", "dedicated"];
const MORNING = 6;

export function mount(element, api) {
  const parts = [hero(api), modes(api), contributed(), budget(), standing(), ownConnections()];
  element.append(
    pageHead(title, null),
    parts[0].element,
    parts[1].element,
    parts[2].element,
    h("div", { class: "grid" }, parts[3].element, parts[5].element, ...parts[4].elements),
  );
  let relays = [];
  let status = null;
  const update = () => {
    if (status) for (const part of parts) part.update(status, { relays });
  };
  const stops = [
    api.watch("/v1/status", 2, (value) => {
      status = value;
      update();
    }),
    api.watch("/v1/relays", 10, (value) => {
      relays = value;
      update();
    }),
  ];
  return () => stops.forEach((stop) => stop());
}

// --- state and pause -----------------------------------------------------------------------------

/** Seconds until tomorrow morning. */
export function untilMorning(now = new Date()) {
  const morning = new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1, MORNING);
  return Math.round((morning - now) / 1000);
}

function hero(api) {
  const lamp = h("span", { class: "lamp" });
  const words = h("h2", { id: "state-words" }, t("shell.loading"));
  const detail = h("p", { class: "muted" });
  const since = h("p", { class: "muted small figures" });
  const pause = (time) => async () => {
    if (await attempt(() => api.post("/v1/pause", time === null ? {} : { time }))) toast(t("home.paused"), resume);
  };
  const resume = async () => {
    if (await attempt(() => api.post("/v1/resume"))) toast(t("home.resumed"));
  };
  const pauses = actions(t("home.pause"), "pause", [
    [t("home.pause_hour"), pause(3600)],
    [t("home.pause_tomorrow", { time: clockHour(MORNING) }), () => pause(untilMorning())()],
    [t("home.pause_for_good"), pause(null)],
  ]);
  const goOn = h("button", { class: "button first", type: "button", onclick: resume }, icon("play"), t("home.resume"));
  const element = h(
    "section",
    { class: "card hero", aria: { labelledby: "state-words" } },
    h(
      "div",
      { class: "line apart" },
      h("div", { class: "hero-state" }, lamp, h("div", null, words, detail, since)),
      h("div", null, pauses, goOn),
    ),
  );
  return {
    element,
    update(status) {
      const state = stateInWords(status);
      lamp.className = `lamp ${state.lamp}`;
      say(words, state.title);
      show(say(detail, state.detail), state.detail);
      const when = sinceInWords(status);
      show(say(since, when), when);
      show(pauses, status.mode !== "client" && status.state !== "paused");
      show(goOn, status.state === "paused");
    },
  };
}

// --- mode ----------------------------------------------------------------------------------------

function modes(api) {
  let shown = null;
  const change = async (mode, back = false) => {
    const before = shown;
    if (!(await attempt(() => api.post("/v1/mode", { mode })))) {
      choice.choose(shown);
      return;
    }
    shown = mode;
    choice.choose(mode);
    toast(t("home.mode_changed", { mode: t(`modes.${mode}`) }), back || !before ? null : () => change(before, true));
  };
  const choice = options(
    t("modes.label"),
    MODES.map((mode) => [mode, t(`modes.${mode}`), t(`modes.${mode}_about`)]),
    null,
    (mode) => change(mode),
  );
  const element = card(t("home.mode"), {}, choice);
  return {
    element,
    update(status) {
      if (status.mode === shown) return;
      shown = status.mode;
      choice.choose(shown);
    },
  };
}

// --- contributed ---------------------------------------------------------------------------------

function contributed() {
  const element = tiles([
    ["circuits", t("home.circuits_today")],
    ["today", t("home.today")],
    ["total", t("home.total")],
    ["peers", t("home.reservations_now")],
  ]);
  const tell = (key, value, text, none) => element.tell(key, value > 0 ? text(value) : none, !(value > 0));
  return {
    element,
    update(status) {
      tell("circuits", status.circuits_today, number, t("shell.none_yet"));
      tell("today", status.bytes_relayed_today, size, t("shell.nothing_yet"));
      tell("total", status.bytes_relayed_total, size, t("shell.nothing_yet"));
      tell("peers", status.reservations_now, number, t("home.nobody"));
    },
  };
}

/** The words of a quota: what is left, what was used of how much, and the share that was. */
export function quotaInWords({ limit, used }) {
  if (limit === null)
    return {
      left: t("shell.unlimited"),
      of: used ? t("periods.no_limit", { used: size(used) }) : t("periods.nothing"),
      share: 0,
    };
  const left = Math.max(0, limit - used);
  return {
    left: left > 0 ? t("periods.left", { left: size(left) }) : t("periods.spent"),
    of:
      used > 0
        ? `${t("periods.used", { used: size(used), limit: size(limit) })} (${percent(used / limit)})`
        : t("periods.nothing"),
    share: limit ? used / limit : 1,
  };
}

function budget() {
  const rows = h("div", { class: "stack" });
  const none = h("p", { class: "empty" }, t("home.budget_none"));
  const element = card(t("home.budget"), { foot: h("a", { href: "#/limits" }, t("home.budget_more")) }, rows, none);
  const bars = new Map();
  return {
    element,
    update(status) {
      const limited = status.budget.filter((quota) => quota.limit !== null);
      show(rows, limited.length);
      show(none, !limited.length);
      fill(
        rows,
        limited.map((quota) => quota.period),
        () =>
          limited.map(({ period }) => {
            const bar = meter(t(`periods.${period}`));
            const left = h("span", { class: "figures" });
            bars.set(period, { bar, left });
            return h(
              "div",
              null,
              h("div", { class: "line apart" }, h("span", { class: "muted" }, t(`periods.${period}`)), left),
              bar,
            );
          }),
      );
      for (const quota of limited) {
        const words = quotaInWords(quota);
        bars.get(quota.period).bar.tell(words.share, words.of);
        say(bars.get(quota.period).left, words.left);
      }
    },
  };
}

// --- reputation and credits ----------------------------------------------------------------------

function standing() {
  const reputation = h("div", { class: "stack" });
  const balanced = h("div", { class: "stack" });
  const elements = [
    card(t("home.reputation"), {}, reputation),
    card(t("home.credits"), { foot: h("a", { href: "#/ledger" }, t("home.more_ledger")) }, balanced),
  ];
  return {
    elements,
    update(status) {
      const parts = (status.reputation_parts ?? []).map(capital);
      fill(reputation, [status.reputation, status.stars, status.mode, parts], () => {
        if (status.reputation === null) {
          return h(
            "p",
            { class: "empty" },
            t(status.mode === "client" ? "home.reputation_off" : "home.reputation_none"),
          );
        }
        return [
          h(
            "div",
            { class: "line" },
            stars(status.stars ?? status.reputation / 20),
            h("span", { class: "big" }, t("home.reputation_of", { reputation: number(status.reputation) })),
          ),
          parts.length
            ? h(
                "ul",
                { class: "muted", role: "list" },
                parts.map((part) => h("li", null, part)),
              )
            : null,
        ];
      });
      const { earned, spent, balance } = status.credits;
      const priority = status.credits.priority?.sentence ?? t("home.priority_none");
      fill(balanced, [earned, spent, balance, priority], () => {
        const list = facts([
          ["earned", t("home.credits_earned")],
          ["spent", t("home.credits_spent")],
          ["balance", t("home.credits_balance")],
        ]);
        list.tell("earned", credits(earned));
        list.tell("spent", credits(spent));
        list.tell("balance", balance ? credits(balance) : t("home.credits_even"));
        return [
          earned || spent
            ? [list, h("p", { class: "small muted" }, t("home.credit_is"))]
            : h("p", { class: "empty" }, t("home.credits_none")),
          h("p", null, `${capital(priority)}.`),
        ];
      });
    },
  };
}

/** Credits, of which each stands for a mebibyte. */
function credits(amount) {
  return amount
    ? t("home.credits_amount", { n: amount, amount: number(amount, Math.abs(amount) < 10 ? 1 : 0) })
    : t("shell.nothing_yet");
}

// --- as a client ---------------------------------------------------------------------------------

function ownConnections() {
  const hidden = note("", "good");
  const missing = h("ul", { class: "small" });
  const via = h("div", null);
  const used = facts([["used", t("home.credits_used")]]);
  const element = card(
    t("home.you"),
    { foot: h("a", { href: "#/relays" }, t("home.more_relays")) },
    hidden,
    missing,
    h("h3", null, t("home.connected_via")),
    via,
    used,
  );
  return {
    element,
    update({ client }, { relays }) {
      hidden.tell(client.ip_hidden ? t("home.ip_hidden") : t("home.ip_seen"), client.ip_hidden ? "good" : "alert");
      fill(missing, client.ip_hidden_missing, () => client.ip_hidden_missing.map((one) => h("li", null, one)));
      show(missing, !client.ip_hidden && client.ip_hidden_missing.length);
      const found = client.connected_via.map((id) => relays.find((relay) => relay.relay_id === id) ?? { relay_id: id });
      const shown = found.map((relay) => [
        relay.relay_id,
        relay.agent,
        relay.stars,
        relay.latency_ms && Math.round(relay.latency_ms / 5),
        relay.state,
      ]);
      fill(via, shown, () =>
        found.length
          ? h("ul", { class: "rows", role: "list" }, found.map(relayLine))
          : h("p", { class: "empty" }, t("home.connected_none")),
      );
      used.tell("used", credits(client.credits_used));
    },
  };
}

function relayLine(relay) {
  const latency = relay.latency_ms
    ? t("relay.latency", { latency: milliseconds(relay.latency_ms) })
    : t("relay.unmeasured");
  const state = relay.state && known(`relay.${relay.state}`) ? t(`relay.${relay.state}`) : "";
  return h(
    "li",
    { class: "line apart" },
    h(
      "span",
      { class: "line" },
      h("span", { class: "mono", title: relay.relay_id }, shortId(relay.relay_id)),
      state ? h("span", { class: `badge ${relay.state === "active" ? "good" : ""}` }, state) : null,
      relay.agent ? h("span", { class: "small muted breaks" }, relay.agent) : null,
    ),
    h("span", { class: "line muted small figures" }, relay.stars ? stars(relay.stars) : null, latency),
  );
}
