// Texts by key, in the language of the page.

import { texts } from "../texts.js";

const plural = new Intl.PluralRules(document.documentElement.lang);

/**
 * The text of a key such as `home.title`. `{name}` in it is replaced by `values.name`; a text that depends on a number
 * is an object of plural forms, chosen by `values.n`. An unknown key stands for itself.
 */
export function t(key, values = {}) {
  let text = key.split(".").reduce((found, part) => found?.[part], texts);
  if (typeof text === "object" && text !== null) text = text[plural.select(values.n ?? 0)] ?? text.other;
  if (typeof text !== "string") return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Is there a text of this key? */
export const known = (key) => t(key) !== key;

/** A sentence's first letter made large. */
export const capital = (text) => (text ? text[0].toLocaleUpperCase() + text.slice(1) : text);
