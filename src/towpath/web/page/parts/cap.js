// How fast relaying may be: a slider over three powers of ten, or left to the node.

import { rate } from "../format.js";
import { toggle } from "./choice.js";
import { freshId, h, say, set, show } from "./dom.js";
import { readRate, writeRate } from "./values.js";
import { t } from "./words.js";

const LEAST = 50_000;
const MOST = 125_000_000;
const STEPS = 68;
const AUTO = "auto";
const UNLIMITED = "unlimited";

/** Bytes per second at a place of the slider, with two digits; null at its end: unlimited. */
export function rateAt(place) {
  if (place >= STEPS) return null;
  const exact = LEAST * (MOST / LEAST) ** (place / (STEPS - 1));
  return Number(exact.toPrecision(2));
}

/** The place of a number of bytes per second. */
export function placeOf(bytesPerSecond) {
  if (bytesPerSecond === null) return STEPS;
  const place = ((STEPS - 1) * Math.log(bytesPerSecond / LEAST)) / Math.log(MOST / LEAST);
  return Math.max(0, Math.min(STEPS - 1, Math.round(place)));
}

/**
 * `save(value)` is called with what the setting becomes (`auto`, `unlimited` or a rate) when the owner lets go, and
 * resolves to whether it did. `tell(value)` shows a setting, `inForce(rate)` what `auto` comes to.
 */
export function capSlider(save) {
  let shown = null;
  let automatic = null;
  const id = freshId("cap");
  const words = h("output", { class: "big", htmlFor: id });
  const slider = h("input", {
    class: "slider",
    type: "range",
    id,
    min: 0,
    max: STEPS,
    step: 1,
    aria: { label: t("cap.label") },
    oninput: () => told(rateAt(Number(slider.value))),
    onchange: () => keep(valueAt(Number(slider.value))),
  });
  const auto = toggle(t("cap.auto"), t("cap.auto_about"), false, (on) =>
    keep(on ? AUTO : valueAt(Number(slider.value))),
  );
  const manual = h(
    "div",
    null,
    slider,
    h(
      "div",
      { class: "line apart small muted figures", aria: { hidden: "true" } },
      h("span", null, rate(LEAST)),
      h("span", null, t("shell.unlimited")),
    ),
  );
  const element = h("div", { class: "stack" }, words, manual, auto);

  const valueAt = (place) => (place >= STEPS ? UNLIMITED : writeRate(rateAt(place)));

  function told(bytesPerSecond) {
    const text = bytesPerSecond === null ? t("shell.unlimited") : rate(bytesPerSecond);
    say(words, text);
    set(slider, { "aria-valuetext": text });
  }

  async function keep(value) {
    const before = shown;
    draw(value);
    if (!(await save(value))) draw(before);
  }

  function draw(value) {
    shown = value;
    auto.turn(value === AUTO);
    show(manual, value !== AUTO);
    const own = value === UNLIMITED ? null : value === AUTO ? automatic : readRate(value);
    if (document.activeElement !== slider || value === AUTO)
      slider.value = placeOf(own ?? (value === UNLIMITED ? null : 250_000));
    if (value === AUTO && own === null) say(words, t("cap.auto_words"));
    else told(own);
  }

  element.tell = (value) => {
    if (value !== shown) draw(value);
  };
  element.inForce = (bytesPerSecond) => {
    if (bytesPerSecond === automatic) return;
    automatic = bytesPerSecond;
    if (shown === AUTO) draw(AUTO);
  };
  return element;
}
