// Traffic: what was relayed, and what was one's own, now and over time, against what may be.

import { clock, full, moment, number, rate, size } from "../format.js";
import { card, facts, pageHead } from "../parts/card.js";
import { chart } from "../parts/chart.js";
import { segments } from "../parts/choice.js";
import { fill, h, say, show } from "../parts/dom.js";
import { t } from "../parts/words.js";

export const title = t("traffic.title");
const WINDOWS = ["live", "5m", "1h", "24h", "30d"];
const SPANS = { live: 120, "5m": 300, "1h": 3600, "24h": 86400, "30d": 30 * 86400 };
const EVERY = { "5m": 2, "1h": 10, "24h": 60, "30d": 300 };
const QUOTAS = { "1h": "hour", "24h": "day", "30d": "month" };
const KEPT = 180;
const KEY = "towpath.window";

export function mount(element, api) {
  let shown = WINDOWS.includes(sessionStorage.getItem(KEY)) ? sessionStorage.getItem(KEY) : "live";
  let limits = null;
  let rows = [];
  const live = [];
  const picture = chart();
  const keys = h("div", { class: "keys" });
  const rowsTable = h("div", null);
  const table = h("details", { ontoggle: () => tell() }, h("summary", null, t("traffic.as_table")), rowsTable);
  const now = facts([
    ["sent", t("traffic.sent")],
    ["received", t("traffic.received")],
    ["own", t("traffic.own")],
    ["limit", t("traffic.limit")],
  ]);
  const why = h("p", { class: "small muted" });
  const inWindow = facts([
    ["sent", t("traffic.sent")],
    ["received", t("traffic.received")],
    ["own", t("traffic.own")],
    ["circuits", t("traffic.circuits")],
  ]);
  const windowTitle = h("h3", null);
  const ever = facts([
    ["today", t("traffic.today")],
    ["total", t("traffic.total")],
  ]);
  const choice = segments(
    t("traffic.window"),
    WINDOWS.map((one) => [one, t(`traffic.windows.${one}`)]),
    shown,
    (one) => {
      shown = one;
      sessionStorage.setItem(KEY, one);
      rows = [];
      follow();
      tell();
    },
  );
  element.append(
    pageHead(title, t("traffic.about")),
    h(
      "div",
      { class: "with-side" },
      card(t("traffic.over_time"), { right: choice }, keys, picture, table),
      h(
        "div",
        { class: "stack" },
        card(t("traffic.now"), {}, now, why),
        card(t("traffic.totals"), {}, windowTitle, inWindow, h("h3", null, t("traffic.ever")), ever),
      ),
    ),
  );

  function points() {
    if (shown === "live") return live;
    return rows.map((row) => {
      const per = (key) => (row[key] === undefined ? undefined : row[key] / Math.max(1, row.seconds));
      return {
        at: row.at,
        sent: per("sent"),
        received: per("received"),
        own_sent: per("own_sent"),
        own_received: per("own_received"),
      };
    });
  }

  function budget() {
    if (!limits) return null;
    if (!QUOTAS[shown]) return limits.rate.limit;
    const quota = limits.budget.find((one) => one.period === QUOTAS[shown]);
    return quota && quota.limit !== null ? quota.limit / SPANS[shown] : null;
  }

  function tell() {
    const drawn = points();
    const line = budget();
    const own = drawn.some((point) => point.own_sent !== undefined && point.own_sent !== null);
    fill(keys, [own, line !== null && budgetInWords(line)], () => [
      h("span", { class: "key" }, t("traffic.key_sent")),
      h("span", { class: "key received" }, t("traffic.key_received")),
      own ? h("span", { class: "key own" }, t("traffic.key_own")) : null,
      line !== null ? h("span", { class: "key budget" }, budgetInWords(line)) : null,
    ]);
    picture.tell(drawn, { budget: line, stepped: shown !== "live", span: SPANS[shown] });
    tellTotals();
    if (table.open) fill(rowsTable, [shown, drawn.length, drawn.at(-1)?.at], () => figures(drawn, shown));
  }

  function budgetInWords(line) {
    const quota = QUOTAS[shown];
    return quota
      ? t(`traffic.budget_${quota}`, { limit: size(line * SPANS[shown]) })
      : t("traffic.budget_rate", { limit: rate(line) });
  }

  function tellTotals() {
    show(windowTitle, shown !== "live" && rows.length);
    show(inWindow, shown !== "live" && rows.length);
    const sum = (key) => rows.reduce((all, row) => all + (row[key] ?? 0), 0);
    const some = (value) => (value > 0 ? size(value) : t("traffic.nothing"));
    say(windowTitle, t(`traffic.in.${shown}`));
    inWindow.tell("sent", some(sum("sent")));
    inWindow.tell("received", some(sum("received")));
    inWindow.tell(
      "own",
      rows[0]?.own_sent === undefined ? t("traffic.unknown") : some(sum("own_sent") + sum("own_received")),
    );
    inWindow.tell("circuits", sum("circuits") > 0 ? number(sum("circuits")) : t("traffic.nobody"));
    picture.describe(
      t("traffic.described", {
        window: t(`traffic.windows.${shown}`),
        sent: some(sum("sent")),
        received: some(sum("received")),
      }),
    );
  }

  function tellNow() {
    const { limit, received, sent, own_received: ownReceived, own_sent: ownSent } = limits.rate;
    const some = (value) => (value > 0 ? rate(value) : t("traffic.quiet"));
    now.tell("sent", some(sent));
    now.tell("received", some(received));
    now.tell("own", ownSent === undefined ? t("traffic.unknown") : some(ownSent + ownReceived));
    now.tell("limit", limit === null ? t("shell.unlimited") : rate(limit));
    say(why, t("traffic.limit_why", { why: limits.rate.why }));
  }

  /** What the node remembers of the last minutes stands before the live picture's first moments. */
  async function begin() {
    const past = await api.get("/v1/traffic?window=5m").catch(() => []);
    const first = live[0]?.at ?? Infinity;
    const per = (row, key) => (row[key] === undefined ? undefined : row[key] / row.seconds);
    const before = past
      .filter((row) => row.at + row.seconds < first)
      .map((row) => ({
        at: row.at + row.seconds,
        sent: per(row, "sent"),
        received: per(row, "received"),
        own_sent: per(row, "own_sent"),
        own_received: per(row, "own_received"),
      }));
    live.unshift(...before);
    if (shown === "live") tell();
  }

  let stop = () => {};
  function follow() {
    stop();
    stop =
      shown === "live"
        ? () => {}
        : api.watch(`/v1/traffic?window=${shown}`, EVERY[shown], (value) => {
            rows = value;
            tell();
          });
  }
  const stops = [
    api.watch("/v1/limits", 1, (value) => {
      limits = value;
      const { received, sent, own_received: ownReceived, own_sent: ownSent } = value.rate;
      const at = Date.now() / 1000;
      if (!live.length || at - live.at(-1).at > 0.5)
        live.push({ at, received, sent, own_received: ownReceived, own_sent: ownSent });
      live.splice(0, live.length - KEPT);
      tellNow();
      if (shown === "live") tell();
    }),
    api.watch("/v1/status", 5, (status) => {
      ever.tell("today", status.bytes_relayed_today > 0 ? size(status.bytes_relayed_today) : t("shell.nothing_yet"));
      ever.tell("total", status.bytes_relayed_total > 0 ? size(status.bytes_relayed_total) : t("shell.nothing_yet"));
    }),
  ];
  follow();
  begin();
  return () => {
    stop();
    stops.forEach((one) => one());
    picture.stop();
  };
}

const MOST_ROWS = 48;

/** The same as a table, for who can't see the picture: the last slices, the newest first. */
function figures(points, span) {
  const shown = points.slice(-MOST_ROWS).reverse();
  return h(
    "div",
    { class: "table-scroll tall", tabIndex: 0, role: "group", aria: { label: t("traffic.as_table") } },
    h(
      "table",
      { class: "table-plain" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          [t("traffic.when"), t("traffic.sent"), t("traffic.received"), t("traffic.own")].map((word, at) =>
            h("th", { scope: "col", class: at ? "number" : "" }, word),
          ),
        ),
      ),
      h(
        "tbody",
        null,
        shown.map((point) => {
          const some = (value) => (value > 0 ? rate(value) : "–");
          const own =
            point.own_sent === undefined
              ? t("traffic.unknown")
              : some((point.own_sent ?? 0) + (point.own_received ?? 0));
          return h(
            "tr",
            null,
            h("td", { title: full(point.at) }, SPANS[span] > 600 ? moment(point.at) : clock(point.at)),
            [some(point.sent), some(point.received), own].map((text) => h("td", { class: "number" }, text)),
          );
        }),
      ),
    ),
  );
}
