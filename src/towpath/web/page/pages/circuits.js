// Circuits & reservations: what goes through this machine right now, who may come, and who was turned away.

import { brief, moment, number, rate, shortId, size } from "../format.js";
import { card, pageHead } from "../parts/card.js";
import { ask } from "../parts/dialog.js";
import { fill, freshId, h, icon, say } from "../parts/dom.js";
import { openCircuits } from "../parts/open.js";
import { named, table } from "../parts/table.js";
import { attempt, toast } from "../parts/toast.js";
import { t } from "../parts/words.js";

export const title = t("circuits.title");
const MANY = 500;
const REFUSALS = 8;
const TURNED_AWAY = new Set(["circuit_refused", "reservation_refused"]);

export function mount(element, api) {
  const agents = new Map();
  const moved = new Map();
  let circuits = [];
  let reservations = [];
  let wanted = "";

  const open = table({
    label: t("circuits.open"),
    sort: "rate",
    id: (row) => row.id,
    empty: t("circuits.none"),
    columns: circuitColumns(api, agents, moved),
  });
  const held = table({
    label: t("circuits.reservations"),
    sort: "expires",
    id: (row) => `${row.direction} ${row.peer ?? row.relay_id}`,
    empty: t("circuits.no_reservations"),
    columns: reservationColumns(agents),
  });
  const summary = h("p", { class: "muted figures" });
  const filter = h("input", {
    class: "field",
    type: "search",
    placeholder: t("circuits.filter"),
    aria: { label: t("circuits.filter_label") },
    oninput: () => {
      wanted = filter.value.trim().replace(/^…/, "");
      tell();
    },
  });
  const refusals = h("div", null);
  element.append(
    pageHead(title, t("circuits.about")),
    card(t("circuits.open"), { right: filter }, summary, open),
    card(t("circuits.reservations"), {}, held),
    card(t("circuits.refused"), {}, h("p", { class: "muted" }, t("circuits.refused_about")), refusals),
  );

  function tell() {
    const total = [...moved.values()].reduce((sum, one) => sum + (one.rate ?? 0), 0);
    const words =
      t("circuits.summary", { n: circuits.length, count: number(circuits.length) }) +
      (total > 0 ? `, ${rate(total)}` : "");
    say(summary, circuits.length ? words : "");
    const shown = wanted
      ? circuits.filter((row) => row.peer.includes(wanted) || (row.target ?? "").includes(wanted))
      : circuits;
    open.tell(shown);
  }

  function told(rows) {
    const now = performance.now() / 1000;
    const before = new Map(moved);
    moved.clear();
    for (const row of rows) moved.set(row.id, speed(before.get(row.id), row.bytes_in + row.bytes_out, now));
    circuits = rows;
    tell();
    // Thousands are asked for less often: that is work for the node, too.
    follow(rows.length > (many ? MANY / 2 : MANY));
  }

  function toldReservations(rows) {
    reservations = rows;
    held.tell(reservations);
  }

  function toldPeers(rows) {
    agents.clear();
    for (const row of rows) if (row.agent) agents.set(row.peer, row.agent);
    tell();
    held.tell(reservations);
  }

  const source = openCircuits();
  let many = null;
  let stops = [];
  /** Who may come here, and what peers say they are, changes less often than what goes through. */
  function follow(manyNow) {
    if (many === manyNow) return;
    many = manyNow;
    stops = [
      api.watch(source, many ? 5 : 2, told),
      api.watch("/v1/reservations", many ? 20 : 3, toldReservations),
      api.watch("/v1/peers", many ? 60 : 10, toldPeers),
    ];
  }
  follow(false);

  const events = [];
  const tellRefusals = () =>
    fill(
      refusals,
      events.map((event) => event.id),
      () => refused(events),
    );
  const unhear = api.onEvent((event) => {
    if (!TURNED_AWAY.has(event.kind)) return;
    events.unshift(event);
    events.splice(REFUSALS);
    tellRefusals();
  });
  tellRefusals();
  return () => {
    unhear();
    stops.forEach((stop) => stop());
  };
}

/** Bytes per second since a circuit was seen last; asked twice in a moment, the figure stays. */
export function speed(before, bytes, now) {
  if (!before) return { at: now, bytes, rate: null };
  if (now - before.at < 0.5) return before;
  return { at: now, bytes, rate: Math.max(0, bytes - before.bytes) / (now - before.at) };
}

function circuitColumns(api, agents, moved) {
  const peer = (key) => () =>
    named(
      (row) => shortId(row[key]),
      (row) => row[key] ?? "",
      (row) => agents.get(row[key]) ?? "",
    );
  return [
    { key: "peer", label: t("circuits.from"), only: "wide", value: (row) => row.peer, make: peer("peer") },
    { key: "target", label: t("circuits.to"), only: "wide", value: (row) => row.target, make: peer("target") },
    {
      key: "pair",
      label: t("circuits.from_to"),
      only: "phone",
      value: (row) => row.peer,
      make: () =>
        named(
          (row) => shortId(row.peer),
          (row) => row.peer,
          (row) => `→ ${shortId(row.target)}`,
        ),
    },
    {
      key: "rate",
      label: t("circuits.rate"),
      number: true,
      value: (row) => moved.get(row.id)?.rate ?? null,
      text: (row) => {
        const now = moved.get(row.id)?.rate;
        return now === null || now === undefined ? "…" : now > 0 ? rate(now) : t("circuits.quiet");
      },
    },
    {
      key: "bytes",
      label: t("circuits.carried"),
      number: true,
      value: (row) => row.bytes_in + row.bytes_out,
      make: () =>
        lines(
          (row) => (ways(row).length ? size(row.bytes_in + row.bytes_out) : t("circuits.nothing")),
          (row) => ways(row).join("  "),
        ),
    },
    {
      key: "age",
      label: t("circuits.age"),
      number: true,
      only: "wide",
      value: (row) => row.age_s,
      text: (row) => brief(row.age_s),
    },
    { key: "left", label: t("circuits.left"), value: leftOf, only: "wide", text: leftInWords },
    { key: "actions", label: t("circuits.actions"), hidden: true, make: () => rowActions(api) },
  ];
}

/** What went each way, where something did. */
const ways = ({ bytes_in: there, bytes_out: back }) => [
  ...(there > 0 ? [`→ ${size(there)}`] : []),
  ...(back > 0 ? [`← ${size(back)}`] : []),
];

function lines(first, second) {
  const top = h("span", null);
  const below = h("small", { class: "aside" });
  return {
    node: h("span", null, top, below),
    tell(row) {
      say(top, first(row));
      say(below, second(row));
    },
  };
}

/** The share of its limits that a circuit has left; 2 for one without limits. */
function leftOf(row) {
  const shares = [];
  if (row.limit_data) shares.push(1 - Math.max(row.bytes_in, row.bytes_out) / row.limit_data);
  if (row.limit_s) shares.push(1 - row.age_s / row.limit_s);
  return shares.length ? Math.min(...shares) : 2;
}

function leftInWords(row) {
  const parts = [];
  if (row.limit_data) parts.push(size(Math.max(0, row.limit_data - Math.max(row.bytes_in, row.bytes_out))));
  if (row.limit_s) parts.push(brief(Math.max(0, row.limit_s - row.age_s)));
  return parts.join(", ") || t("circuits.no_limits");
}

function rowActions(api) {
  let row = null;
  const who = h("span", { class: "unseen" });
  const close = async () => {
    const { id } = row;
    if (await attempt(() => api.post("/v1/circuits/close", { id }))) toast(t("circuits.closed", { id }));
  };
  const block = async () => {
    const peer = await whom(row);
    if (peer && (await attempt(() => api.post("/v1/peers/block", { peer }))))
      toast(t("circuits.blocked", { peer: shortId(peer) }));
  };
  return {
    node: h(
      "span",
      { class: "row-actions" },
      h(
        "button",
        { class: "button quiet tiny", type: "button", onclick: close },
        icon("close"),
        h("span", null, t("circuits.close")),
        who,
      ),
      h(
        "button",
        { class: "button quiet tiny", type: "button", onclick: block },
        icon("block"),
        h("span", null, t("circuits.block")),
        who.cloneNode(),
      ),
    ),
    tell(other) {
      row = other;
      for (const unseen of this.node.querySelectorAll(".unseen"))
        say(unseen, ` ${t("circuits.number", { id: row.id })}`);
    },
  };
}

/** Asks which of a circuit's two peers to block; null: neither. */
async function whom(row) {
  const name = freshId("whom");
  let chosen = row.peer;
  const choice = (key, word) =>
    h(
      "label",
      { class: "option" },
      h("input", { type: "radio", name, checked: key === "peer", onchange: () => (chosen = row[key]) }),
      h("strong", { class: "mono" }, shortId(row[key])),
      h("span", null, word),
    );
  const choices = h(
    "fieldset",
    { class: "stack" },
    h("legend", { class: "unseen" }, t("circuits.block_whom")),
    choice("peer", t("circuits.block_from")),
    row.target ? choice("target", t("circuits.block_to")) : null,
  );
  return (await ask(t("circuits.block_title"), t("circuits.block_about"), t("circuits.block_yes"), choices))
    ? chosen
    : null;
}

function reservationColumns(agents) {
  const other = (row) => (row.direction === "granted" ? row.peer : row.relay_id);
  return [
    {
      key: "peer",
      label: t("circuits.peer"),
      value: other,
      make: () =>
        named(
          (row) => shortId(other(row)),
          (row) => other(row) ?? "",
          (row) => agents.get(other(row)) ?? "",
        ),
    },
    {
      key: "direction",
      label: t("circuits.kind"),
      value: (row) => row.direction,
      text: (row) => t(`circuits.${row.direction}`),
    },
    {
      key: "since",
      label: t("circuits.since"),
      number: true,
      only: "wide",
      value: (row) => row.since_s ?? null,
      text: (row) => (row.since_s === undefined ? "" : brief(row.since_s)),
    },
    {
      key: "expires",
      label: t("circuits.expires"),
      number: true,
      value: (row) => row.expires_in_s,
      text: (row) => brief(row.expires_in_s),
    },
  ];
}

function refused(events) {
  if (!events.length) return h("p", { class: "empty" }, t("circuits.none_refused"));
  return h(
    "ul",
    { class: "rows", role: "list" },
    events.map((event) =>
      h(
        "li",
        { class: "line apart" },
        h("span", null, event.sentence),
        h("span", { class: "muted small figures" }, moment(event.at)),
      ),
    ),
  );
}
