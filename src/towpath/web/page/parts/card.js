// Boxes with facts in them.

import { freshId, h, icon, say } from "./dom.js";

/** The head of a page: its title, a sentence, and perhaps something at its right. */
export function pageHead(title, sentence, ...right) {
  return h("header", { class: "page-head" }, h("h1", null, title), ...right, sentence ? h("p", null, sentence) : null);
}

/** A box with a heading; `right` stands beside the heading. */
export function card(title, { right = null, className = "", foot = null } = {}, ...children) {
  const id = freshId("card");
  return h(
    "section",
    { class: `card ${className}`, aria: { labelledby: id } },
    h("div", { class: "card-head" }, h("h2", { id }, title), right),
    children,
    foot ? h("div", { class: "card-foot" }, foot) : null,
  );
}

/** A row of large figures: pairs of a name and a key. The element's `tell(key, text, isWords)` sets one. */
export function tiles(names) {
  const values = new Map();
  const list = h("dl", { class: "tiles" });
  for (const [key, name] of names) {
    const value = h("dd", { class: "words" }, "…");
    values.set(key, value);
    list.append(h("div", { class: "tile", data: { tile: key } }, h("dt", null, name), value));
  }
  list.tell = (key, text, isWords = false) => {
    const value = values.get(key);
    value.className = isWords ? "words" : "";
    say(value, text);
  };
  return list;
}

/** Names and values under each other. The element's `tell(key, text)` sets one value. */
export function facts(names, className = "") {
  const values = new Map();
  const list = h("dl", { class: `facts ${className}` });
  for (const [key, name] of names) {
    const value = h("dd", { data: { fact: key } }, "…");
    values.set(key, value);
    list.append(h("dt", null, name), value);
  }
  list.tell = (key, text) => say(values.get(key), text);
  return list;
}

/** A sentence that stands out: `info`, `alert` or `good`. The element's `tell(text, kind)` says another. */
export function note(text, kind = "info") {
  const words = h("span", null, text);
  const element = h("div", { class: `note ${kind}` }, icon(SIGNS[kind]), words);
  element.tell = (other, otherKind = kind) => {
    element.className = `note ${otherKind}`;
    if (element.firstChild.dataset.kind !== otherKind) {
      const sign = icon(SIGNS[otherKind]);
      sign.dataset.kind = otherKind;
      element.firstChild.replaceWith(sign);
    }
    say(words, other);
  };
  return element;
}
const SIGNS = { info: "info", alert: "warning", good: "check" };
