// Limits & schedule: how fast, how much, and when this node relays.

import { moment, rate } from "../format.js";
import { asItIs, change } from "../parts/change.js";
import { card, note, pageHead } from "../parts/card.js";
import { segments, toggle } from "../parts/choice.js";
import { capSlider } from "../parts/cap.js";
import { fill, freshId, h, icon, say, set, show } from "../parts/dom.js";
import { meter } from "../parts/meter.js";
import { kindOf, readSize, readWeek, splitSize, writeRate, writeWeek } from "../parts/values.js";
import { slotInWords, weekGrid } from "../parts/week.js";
import { t } from "../parts/words.js";
import { quotaInWords } from "./home.js";

export const title = t("limits.title");
const PERIODS = ["hour", "day", "month"];
const WHEN = ["relay.only_when_idle", "relay.on_battery", "relay.on_metered", "relay.queue_guard"];
const BRUSHES = ["off", "rate", "open"];

export function mount(element, api) {
  let settings = null;
  const apply = (values, refused) => {
    const before = Object.fromEntries(Object.keys(values).map((key) => [key, asItIs(settings[key])]));
    return change(api, values, before, refused);
  };
  const off = note(t("limits.off"));
  const parts = [speed(apply), amounts(apply), occasions(apply), week(apply)];
  show(off, false);
  element.append(
    pageHead(title, t("limits.about")),
    off,
    h("div", { class: "grid" }, parts[0].element, parts[2].element),
    parts[1].element,
    parts[3].element,
  );
  const stops = [
    api.watch("/v1/settings", 10, (value) => {
      settings = value;
      show(off, settings["relay.mode"].value === "client");
      for (const part of parts) part.settings(settings);
    }),
    api.watch("/v1/limits", 2, (limits) => {
      for (const part of parts) part.limits?.(limits);
    }),
  ];
  return () => stops.forEach((stop) => stop());
}

// --- how fast ------------------------------------------------------------------------------------

function speed(apply) {
  const cap = capSlider((value) => apply({ "relay.max_rate": value }));
  const bar = meter(t("limits.rate_used"));
  const now = h("p", { class: "small muted figures" });
  const element = card(t("limits.rate"), {}, cap, bar, now);
  return {
    element,
    settings: (settings) => cap.tell(settings["relay.max_rate"].value),
    limits({ rate: { limit, why, received, sent } }) {
      cap.inForce(limit);
      const used = Math.max(received, sent);
      const speedNow = used > 0 ? rate(used) : t("limits.nothing_now");
      const words =
        limit === null
          ? t("limits.no_limit_now", { used: speedNow })
          : t("limits.limit_now", { used: speedNow, limit: rate(limit), why });
      bar.tell(limit ? used / limit : 0, words);
      show(bar, limit !== null);
      say(now, words);
    },
  };
}

// --- how much ------------------------------------------------------------------------------------

function amounts(apply) {
  const rows = PERIODS.map((period) => amount(period, apply));
  const element = card(
    t("limits.amounts"),
    { foot: h("p", { class: "small muted" }, t("limits.counted")) },
    h(
      "div",
      { class: "rows" },
      rows.map((row) => row.element),
    ),
  );
  return {
    element,
    settings(settings) {
      for (const row of rows) row.settings(settings);
    },
    limits({ budget }) {
      for (const quota of budget) rows[PERIODS.indexOf(quota.period)]?.limits(quota);
    },
  };
}

function amount(period, apply) {
  const key = `relay.max_bandwidth_per_${period}`;
  const id = freshId("amount");
  const wrong = h("p", { class: "wrong", id: `${id}-wrong`, hidden: true, role: "alert" });
  const field = h("input", {
    class: "field short figures",
    type: "text",
    inputMode: "decimal",
    id,
    autocomplete: "off",
    onchange: () => save(),
    aria: { describedby: `${id}-wrong` },
  });
  const unit = h(
    "select",
    {
      class: "field",
      aria: { label: t("limits.unit", { period: t(`limits.per.${period}`) }) },
      onchange: () => save(),
    },
    ["MB", "GB"].map((one) => h("option", { value: one }, one)),
  );
  const none = h("input", { type: "checkbox", id: `${id}-none`, onchange: () => save() });
  const bar = meter(t(`limits.per.${period}`));
  const left = h("span", { class: "figures" });
  const resets = h("span", { class: "small muted figures" });
  let shown = null;
  let last = [500, "MB"];

  async function save() {
    field.disabled = unit.disabled = none.checked;
    const value = none.checked ? "unlimited" : `${field.value.trim().replace(",", ".")}${unit.value}`;
    if (value === shown) return;
    const refused = (error) => {
      say(wrong, error.facts.allowed ? t("limits.allowed", { allowed: error.facts.allowed }) : error.message);
      show(wrong, true);
      set(field, { "aria-invalid": "true" });
    };
    if (await apply({ [key]: value }, refused)) mended();
  }

  function mended() {
    show(wrong, false);
    set(field, { "aria-invalid": null });
  }

  return {
    element: h(
      "div",
      { class: "stack" },
      h(
        "div",
        { class: "line apart" },
        h("label", { class: "label", htmlFor: id }, t(`limits.per.${period}`)),
        h(
          "span",
          { class: "line" },
          field,
          unit,
          h("label", { class: "line check", htmlFor: `${id}-none` }, none, t("shell.unlimited")),
        ),
      ),
      bar,
      h("div", { class: "line apart" }, left, resets),
      wrong,
    ),
    settings(settings) {
      const { value } = settings[key];
      if (value === shown || field.parentElement.contains(document.activeElement)) return;
      shown = value;
      mended();
      none.checked = value === "unlimited";
      const bytes = readSize(value);
      if (bytes !== null) last = splitSize(bytes);
      if (![...unit.options].some((option) => option.value === last[1]))
        unit.append(h("option", { value: last[1] }, last[1]));
      [field.value, unit.value] = last;
      field.disabled = unit.disabled = none.checked;
    },
    limits(quota) {
      const words = quotaInWords(quota);
      bar.tell(words.share, words.of);
      show(bar, quota.limit !== null);
      say(left, quota.limit === null ? words.of : `${words.left}, ${words.of}`);
      say(
        resets,
        quota.resets_at ? t("periods.resets", { moment: moment(60 * Math.round(quota.resets_at / 60)) }) : "",
      );
    },
  };
}

// --- when ----------------------------------------------------------------------------------------

function occasions(apply) {
  const switches = new Map(
    WHEN.map((key) => {
      const word = key.split(".")[1];
      return [
        key,
        toggle(t(`limits.${word}`), t(`limits.${word}_about`), false, async (on) => {
          if (!(await apply({ [key]: on }))) switches.get(key).turn(!on);
        }),
      ];
    }),
  );
  return {
    element: card(
      t("limits.when"),
      {},
      h(
        "div",
        { class: "rows" },
        [...switches.values()].map((one) => h("div", null, one)),
      ),
    ),
    settings(settings) {
      for (const [key, one] of switches) one.turn(settings[key].value);
    },
  };
}

// --- the week ------------------------------------------------------------------------------------

function week(apply) {
  let kind = "off";
  let slow = 500_000;
  const save = async (hours, before) => {
    if (!(await apply({ "relay.schedule": writeWeek(hours).length ? writeWeek(hours) : "open" }))) grid.tell(before);
  };
  const grid = weekGrid(() => (kind === "rate" ? writeRate(slow) : kind), save);
  const id = freshId("slow");
  const speeds = h(
    "select",
    { class: "field", id, onchange: () => (slow = Number(speeds.value)) },
    [100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 12_500_000].map((one) =>
      h("option", { value: one, selected: one === slow }, rate(one)),
    ),
  );
  const slower = h("span", { class: "line", hidden: true }, h("label", { htmlFor: id }, t("week.at_most")), speeds);
  const brushes = segments(
    t("week.brush"),
    BRUSHES.map((one) => [one, t(`week.brushes.${one}`)]),
    kind,
    (one) => {
      kind = one;
      show(slower, kind === "rate");
    },
  );
  const clear = h(
    "button",
    { class: "button", type: "button", onclick: () => apply({ "relay.schedule": "open" }) },
    icon("undo"),
    t("week.clear"),
  );
  const now = h("p", { class: "muted figures" });
  const legend = h("div", { class: "keys week" });
  return {
    element: card(
      t("week.title"),
      { right: clear },
      h("p", { class: "muted", id: "week-help" }, t("week.help")),
      h("div", { class: "line" }, h("span", { aria: { hidden: "true" } }, t("week.brush")), brushes, slower),
      grid,
      now,
      legend,
    ),
    settings(settings) {
      const value = settings["relay.schedule"].value;
      const hours = readWeek(value);
      grid.tell(hours);
      const kinds = [...new Set(["open", "off", "rate", ...hours.map(kindOf)])];
      fill(legend, kinds, () =>
        kinds.map((one) =>
          h(
            "span",
            { class: "line" },
            h("span", { class: "swatch slot", data: { kind: one }, aria: { hidden: "true" } }, t(`week.marks.${one}`)),
            t(`week.legend.${one}`),
          ),
        ),
      );
      const date = new Date();
      say(now, t("week.now", { slot: slotInWords(hours[24 * ((date.getDay() + 6) % 7) + date.getHours()]) }));

      show(clear, Array.isArray(value) && value.length);
    },
  };
}
