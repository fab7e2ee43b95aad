// Relays I use: which relays hold the way to this node, which could, and why; and whether others reach its own relay.

import { milliseconds, number, percent, shortId } from "../format.js";
import { card, facts, note, pageHead } from "../parts/card.js";
import { fill, h, say, show } from "../parts/dom.js";
import { stars } from "../parts/meter.js";
import { attempt } from "../parts/toast.js";
import { capital, known, t } from "../parts/words.js";

export const title = t("relays.title");
const ORDER = ["active", "standby", "candidate", "avoided"];
const MOST = 50;

export function mount(element, api) {
  const reach = reachability(api);
  const found = discovery();
  const inUse = h("div", null);
  const others = h("div", null);
  element.append(
    pageHead(title, t("relays.about")),
    card(t("relays.in_use"), {}, inUse),
    h("div", { class: "grid" }, reach.element, found.element),
    card(t("relays.others"), {}, others),
  );
  const stops = [
    api.watch("/v1/relays", 5, (rows) => {
      const sorted = [...rows].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
      const used = sorted.filter((row) => row.state === "active" || row.state === "standby");
      const rest = sorted.filter((row) => !used.includes(row));
      fill(inUse, used.map(shape), () => list(used, t("relays.none_in_use")));
      fill(others, rest.map(shape), () => list(rest, t("relays.none_known")));
    }),
    api.watch("/v1/status", 5, (status) => {
      reach.update(status);
      found.update(status);
    }),
  ];
  return () => stops.forEach((stop) => stop());
}

/** What of a relay is shown: rows are made anew only when that changed. */
const shape = (row) => [
  row.relay_id,
  row.agent,
  row.state,
  row.source,
  row.stars,
  row.score,
  row.load,
  row.latency_ms && Math.round(row.latency_ms),
  row.reasons,
];

function list(rows, none) {
  if (!rows.length) return h("p", { class: "empty" }, none);
  return [
    h("ul", { class: "rows", role: "list" }, rows.slice(0, MOST).map(relay)),
    rows.length > MOST ? h("p", { class: "small muted" }, t("relays.more", { n: rows.length - MOST })) : null,
  ];
}

function relay(row) {
  const state = known(`relay.${row.state}`) ? t(`relay.${row.state}`) : row.state;
  const badge = row.state === "active" ? "good" : row.state === "avoided" ? "alert" : "";
  const figures = [
    known(`relays.sources.${row.source}`) ? t(`relays.sources.${row.source}`) : row.source,
    row.latency_ms === null ? t("relay.unmeasured") : t("relay.latency", { latency: milliseconds(row.latency_ms) }),
    row.score === null ? null : t("relays.score", { score: number(row.score) }),
  ].filter(Boolean);
  return h(
    "li",
    { class: "stack tight" },
    h(
      "div",
      { class: "line apart" },
      h(
        "span",
        { class: "line" },
        h("strong", { class: "mono", title: row.relay_id }, shortId(row.relay_id)),
        h("span", { class: `badge ${badge}` }, state),
        row.stars === null ? null : stars(row.stars),
        row.agent ? h("span", { class: "small muted breaks" }, row.agent) : null,
      ),
      h("span", { class: "muted small figures" }, figures.join(" · ")),
    ),
    row.reasons.length ? h("p", { class: "muted reasons" }, `${capital(row.reasons.join("; "))}.`) : null,
  );
}

// --- reachability --------------------------------------------------------------------------------

const SIGNS = { reachable: "good", unreachable: "alert", unknown: "info" };

function reachability(api) {
  const state = note(t("shell.loading"));
  const sentence = h("p", null);
  const answers = h("div", null);
  const check = h("button", { class: "button", type: "button", onclick: () => ask() }, t("relays.check"));
  const doing = h("span", { class: "muted", role: "status" });
  const element = card(t("relays.reach"), { right: check }, state, sentence, answers, doing);

  async function ask() {
    check.disabled = true;
    say(doing, t("relays.checking"));
    await attempt(async () => {
      const told = await api.post("/v1/check");
      tell(told.state, told.sentence);
      fill(answers, told.addresses, () => addresses(told));
    });
    say(doing, "");
    check.disabled = false;
  }

  function tell(word, words) {
    state.tell(t(`relays.${word}`), SIGNS[word]);
    say(sentence, words ?? "");
    show(sentence, words);
  }

  return {
    element,
    update(status) {
      tell(status.reachability, status.reachability_why);
    },
  };
}

function addresses({ addresses: rows, port_mapping: mapping }) {
  return [
    rows.length
      ? h(
          "ul",
          { class: "rows small", role: "list" },
          rows.map((row) =>
            h(
              "li",
              null,
              h("div", { class: "mono breaks" }, row.address),
              h(
                "div",
                { class: "muted" },
                `${t(`relays.origins.${row.origin}`)}: ${t(row.reached === null ? "relays.not_said" : row.reached ? "relays.reached" : "relays.not_reached")}`,
              ),
            ),
          ),
        )
      : null,
    mapping ? h("p", { class: "small muted" }, t("relays.router", { said: mapping })) : null,
  ];
}

// --- how relays are found ------------------------------------------------------------------------

function discovery() {
  const list = facts([
    ["known", t("relays.known")],
    ["dht", t("relays.dht")],
    ["advertised", t("relays.advertised")],
    ["bootstrap", t("relays.bootstrap_share")],
  ]);
  const failed = h("p", { class: "small muted", hidden: true });
  const sustaining = h("p", { class: "small muted", hidden: true });
  return {
    element: card(t("relays.found"), {}, list, failed, sustaining),
    update({ discovery: found, client, mode, self_sustaining: independence }) {
      say(sustaining, independence ? t("relays.sustaining", { sentence: capital(independence.sentence) }) : "");
      show(sustaining, independence);
      if (!found) return;
      list.tell("known", found.relays_known ? number(found.relays_known) : t("shell.none_yet"));
      list.tell("dht", found.dht ? t("relays.dht_servers", { n: found.dht_servers }) : t("relays.dht_not"));
      list.tell(
        "advertised",
        mode === "client" ? t("relays.advertised_not") : t(found.advertised ? "shell.yes" : "shell.no"),
      );
      list.tell(
        "bootstrap",
        client.bootstrap_share === null ? t("shell.no_measurement") : percent(client.bootstrap_share),
      );
      say(failed, found.advertising_failed ? t("relays.advertising_failed", { why: found.advertising_failed }) : "");
      show(failed, found.advertising_failed);
    },
  };
}
