// Shares as pictures: how much of a limit is used, how many stars.

import { h, set } from "./dom.js";
import { number } from "../format.js";
import { t } from "./words.js";

/** A bar. The element's `tell(share, text)` fills it: 0…1, and what a screen reader says. */
export function meter(label) {
  const bar = h("div", null);
  const element = h(
    "div",
    { class: "meter", role: "meter", aria: { label, valuemin: 0, valuemax: 100, valuenow: 0 } },
    bar,
  );
  element.tell = (share, text) => {
    const percent = Math.max(0, Math.min(100, share * 100));
    bar.style.width = share > 0 ? `max(6px, ${percent.toFixed(1)}%)` : "0";
    element.classList.toggle("low", share >= 0.9);
    set(element, { "aria-valuenow": Math.round(percent), "aria-valuetext": text });
  };
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
const STAR = "M10 1.8l2.5 5.2 5.7.8-4.1 4 1 5.7-5.1-2.7-5.1 2.7 1-5.7-4.1-4 5.7-.8Z";

/** Stars of five, from 0 to 5. */
export function stars(value) {
  const full = Math.round(value);
  const element = h("span", {
    class: "stars",
    role: "img",
    aria: { label: t("shell.stars", { n: full, stars: number(full) }) },
  });
  for (let at = 0; at < 5; at += 1) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 20 20");
    if (at >= full) svg.setAttribute("class", "off");
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", STAR);
    svg.append(path);
    element.append(svg);
  }
  return element;
}
