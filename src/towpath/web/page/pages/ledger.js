// Ledger: what was earned and spent, and with whom; each row says why it stands as it does.

import { number, shortId, size } from "../format.js";
import { card, note, pageHead, tiles } from "../parts/card.js";
import { fill, h, say, show } from "../parts/dom.js";
import { attempt } from "../parts/toast.js";
import { t } from "../parts/words.js";

export const title = t("ledger.title");
const MOST = 100;

export function mount(element, api) {
  const sums = tiles(["earned", "spent", "balance"].map((key) => [key, t(`ledger.${key}`)]));
  const why = h("div", { class: "stack tight" });
  const list = h("ul", { class: "rows", role: "list" });
  const none = h("p", { class: "empty" }, t("ledger.none"));
  const more = h("p", { class: "small muted" });
  const off = note(t("ledger.off"));
  let rows = [];
  let wanted = "";
  const search = h("input", {
    class: "field",
    type: "search",
    placeholder: t("ledger.search"),
    aria: { label: t("ledger.search_label") },
    oninput: () => {
      wanted = search.value.trim().replace(/^…/, "");
      draw();
    },
  });
  show(off, false);
  element.append(
    pageHead(title, t("ledger.about")),
    off,
    sums,
    card(t("ledger.how"), {}, why),
    card(t("ledger.peers"), { right: search }, none, list, more),
  );

  function draw() {
    const fitting = wanted ? rows.filter((row) => row.peer.includes(wanted)) : rows;
    const shown = fitting.slice(0, MOST);
    // Rows that are there stay: one that is open stays open.
    fill(
      list,
      shown.map((row) => [row.peer, row.earned, row.spent, row.carried, row.accepted]),
      () => {
        const before = new Map([...list.children].map((item) => [item.dataset.peer, item]));
        return shown.map((row) => refreshed(before.get(row.peer), row, api));
      },
    );
    show(list, shown.length);
    show(none, !shown.length);
    say(none, t(rows.length ? "ledger.not_found" : "ledger.none"));
    say(more, fitting.length > MOST ? t("ledger.more", { n: fitting.length - MOST }) : "");
    show(more, fitting.length > MOST);
    show(search, rows.length > 5);
  }

  function tell(found) {
    for (const key of ["earned", "spent", "balance"]) {
      const amount = found[key];
      sums.tell(key, amount ? number(amount, 2) : t("shell.nothing_yet"), !amount);
    }
    fill(why, found.sentences, () => found.sentences.map((sentence) => h("p", null, sentence)));
    rows = found.rows;
    draw();
  }

  const stops = [
    api.watch("/v1/ledger", 5, tell),
    api.watch("/v1/settings", 30, (settings) => show(off, settings["credits.enforce"].value === "never")),
  ];
  return () => stops.forEach((stop) => stop());
}

function refreshed(before, row, api) {
  if (before) {
    before.tell(row);
    return before;
  }
  const balance = h("span", { class: "figures muted small" });
  const refused = h("span", { class: "badge alert", hidden: true }, t("ledger.refused"));
  const beneath = h("div", { class: "stack tight" });
  const box = h(
    "details",
    { ontoggle: () => box.open && explain() },
    h("summary", null, t("ledger.why"), h("span", { class: "unseen" }, `: ${row.peer}`)),
    beneath,
  );
  const item = h(
    "li",
    { class: "stack tight", data: { peer: row.peer } },
    h(
      "div",
      { class: "line apart" },
      h(
        "span",
        { class: "line" },
        h("strong", { class: "mono", title: row.peer }, row.kind === "network" ? row.peer : shortId(row.peer)),
        h("span", { class: "badge" }, t(`ledger.kinds.${row.kind}`)),
        refused,
      ),
      balance,
    ),
    box,
  );
  const explain = () =>
    attempt(async () => {
      const { sentences } = await api.get(`/v1/ledger/${encodeURIComponent(row.peer)}`);
      fill(beneath, sentences, () => sentences.map((sentence) => h("p", null, sentence)));
    });
  item.tell = (now) => {
    const parts = [t("ledger.carried", { size: size(now.carried) })];
    if (now.earned || now.spent)
      parts.push(t("ledger.of_peer", { earned: number(now.earned, 2), spent: number(now.spent, 2) }));
    if (now.free_left !== null) parts.push(t("ledger.free_left", { size: size(now.free_left) }));
    say(balance, parts.join(" · "));
    show(refused, !now.accepted);
    if (box.open) explain();
  };
  item.tell(row);
  return item;
}
