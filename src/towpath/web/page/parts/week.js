// The relay's week as a grid of 7 × 24 hours: painted with the pointer, and wholly usable by keyboard.
//
// One hour has the focus; arrows move it, Space or Enter paints it, Shift with arrows paints on the way. Days and hours at
// the edges paint a whole row or column. On a narrow screen days stand beside each other and hours below.

import { clockHour, hourOfDay, weekdays } from "../format.js";
import { h, say, set } from "./dom.js";
import { kindOf, OPEN } from "./values.js";
import { t } from "./words.js";

const NARROW = "(max-width: 760px)";

/** What stands in an hour, in words. */
export const slotInWords = (slot) => (kindOf(slot) === "rate" ? t("week.rate", { rate: slot }) : t(`week.${slot}`));

/** `brush()` is the slot to paint with; `changed(week, before)` is called when a stroke ends. `tell(week)` shows one. */
export function weekGrid(brush, changed) {
  let week = Array(168).fill(OPEN);
  let before = null;
  let focused = 0;
  const long = weekdays("long");
  const cells = [];
  const narrow = matchMedia(NARROW);

  const corner = h("div", { class: "head", role: "columnheader" }, h("span", { class: "unseen" }, t("week.corner")));
  const hours = Array.from({ length: 24 }, (_, hour) =>
    h(
      "div",
      { role: "columnheader", class: "head-cell" },
      h(
        "button",
        {
          class: "head",
          type: "button",
          tabIndex: -1,
          title: t("week.paint_hour", { hour: clockHour(hour) }),
          onclick: () => column(hour),
        },
        hourOfDay(hour),
      ),
    ),
  );
  const rows = weekdays("short").map((name, day) =>
    h(
      "div",
      { role: "row" },
      h(
        "div",
        { role: "rowheader", class: "head-cell" },
        h(
          "button",
          {
            class: "head",
            type: "button",
            tabIndex: -1,
            title: t("week.paint_day", { day: long[day] }),
            onclick: () => row(day),
          },
          name,
        ),
      ),
      Array.from({ length: 24 }, (_, hour) => {
        const cell = h("div", { class: "slot", role: "gridcell", tabIndex: -1, data: { at: 24 * day + hour } });
        cells.push(cell);
        return cell;
      }),
    ),
  );
  const element = h(
    "div",
    { class: "week", role: "grid", aria: { label: t("week.label"), describedby: "week-help" } },
    h("div", { role: "row" }, corner, hours),
    rows,
  );

  function draw() {
    const now = new Date();
    const here = 24 * ((now.getDay() + 6) % 7) + now.getHours();
    cells.forEach((cell, at) => {
      const slot = week[at];
      const day = Math.floor(at / 24);
      const hour = at % 24;
      const kind = kindOf(slot);
      if (cell.dataset.kind !== kind) cell.dataset.kind = kind;
      say(cell, t(`week.marks.${kind}`));
      cell.classList.toggle("now", at === here);
      cell.tabIndex = at === focused ? 0 : -1;
      const words = { day: long[day], from: clockHour(hour), to: clockHour(hour + 1), slot: slotInWords(slot) };
      set(cell, {
        "aria-label": t(at === here ? "week.hour_now" : "week.hour", words),
        title: `${long[day]} ${clockHour(hour)}: ${slotInWords(slot)}`,
      });
    });
  }

  function paint(at, slot) {
    before ??= [...week];
    week[at] = slot;
  }

  function ended() {
    if (before && before.some((slot, at) => slot !== week[at])) changed([...week], before);
    before = null;
    draw();
  }

  function row(day) {
    for (let hour = 0; hour < 24; hour += 1) paint(24 * day + hour, brush());
    ended();
  }

  function column(hour) {
    for (let day = 0; day < 7; day += 1) paint(24 * day + hour, brush());
    ended();
  }

  // --- the pointer ---------------------------------------------------------------------------------

  let stroke = null;
  const cellAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest?.(".week .slot");
  element.addEventListener("pointerdown", (event) => {
    const cell = event.target.closest(".slot");
    if (!cell || event.button !== 0) return;
    event.preventDefault();
    const at = Number(cell.dataset.at);
    // Painting over what is so already takes it away.
    stroke = { from: at, slot: week[at] === brush() ? OPEN : brush(), start: [...week] };
    focus(at);
    over(at);
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    const cell = cellAt(event);
    if (cell && element.contains(cell)) over(Number(cell.dataset.at));
  });
  const lift = () => {
    if (!stroke) return;
    stroke = null;
    ended();
  };
  element.addEventListener("pointerup", lift);
  element.addEventListener("pointercancel", lift);

  /** Paints the rectangle between where the stroke began and here. */
  function over(at) {
    before ??= stroke.start;
    week = [...stroke.start];
    const [days, hoursOf] = [
      [Math.floor(stroke.from / 24), Math.floor(at / 24)].sort((a, b) => a - b),
      [stroke.from % 24, at % 24].sort((a, b) => a - b),
    ];
    for (let day = days[0]; day <= days[1]; day += 1)
      for (let hour = hoursOf[0]; hour <= hoursOf[1]; hour += 1) week[24 * day + hour] = stroke.slot;
    draw();
  }

  // --- the keyboard --------------------------------------------------------------------------------

  function focus(at, move = true) {
    focused = (at + 168) % 168;
    draw();
    if (move) cells[focused].focus();
  }

  element.addEventListener("focusin", (event) => {
    const at = Number(event.target.dataset?.at ?? NaN);
    if (!Number.isNaN(at) && at !== focused) focus(at, false);
  });
  element.addEventListener("keydown", (event) => {
    if (!event.target.classList.contains("slot")) return;
    const at = focused;
    const [day, hour] = [Math.floor(at / 24), at % 24];
    const along = narrow.matches ? { ArrowUp: -1, ArrowDown: 1 } : { ArrowLeft: -1, ArrowRight: 1 };
    const across = narrow.matches ? { ArrowLeft: -1, ArrowRight: 1 } : { ArrowUp: -1, ArrowDown: 1 };
    let to = null;
    if (event.key in along) to = 24 * day + Math.max(0, Math.min(23, hour + along[event.key]));
    else if (event.key in across) to = 24 * Math.max(0, Math.min(6, day + across[event.key])) + hour;
    else if (event.key === "Home") to = event.ctrlKey ? 0 : 24 * day;
    else if (event.key === "End") to = event.ctrlKey ? 167 : 24 * day + 23;
    if (to !== null) {
      if (event.shiftKey) {
        paint(at, brush());
        paint(to, brush());
      }
      focus(to);
      event.preventDefault();
    } else if (event.key === " " || event.key === "Enter") {
      paint(at, week[at] === brush() ? OPEN : brush());
      ended();
      event.preventDefault();
    }
  });
  element.addEventListener("keyup", (event) => {
    if (event.key === "Shift" && before && !stroke) ended();
  });
  element.addEventListener("focusout", (event) => {
    if (before && !stroke && !element.contains(event.relatedTarget)) ended();
  });

  element.tell = (other) => {
    if (before || stroke) return;
    week = [...other];
    draw();
  };
  draw();
  return element;
}
