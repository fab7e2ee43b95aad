// A sortable table that stays light: of thousands of rows only those in sight are in the document, a hundred at most.
//
// Rows of the document are used again for whatever is in sight. While the pointer or the focus is in the table the order
// holds still, so that nobody closes another row than the one aimed at; new rows then go to the end.

import { h, icon, say, set, show } from "./dom.js";

const ROW = 44;
const MOST = 100;
const SPARE = 8;

/**
 * `columns`: objects of `key`, `label`, and `text(row)`, or `make()` which returns `{node, tell(row)}`; perhaps
 * `value(row)` (what is sorted by), `number` (stands right, sorts from large to small first), `only` (`wide` or `phone`:
 * where it is shown). `id(row)` tells rows apart. `empty` is said without rows. The element's `tell(rows)` shows others.
 */
export function table({ label, columns, id, sort, empty }) {
  let rows = [];
  let order = [];
  let by = sort;
  let down = columns.find((column) => column.key === sort)?.number ?? false;
  let still = false;
  const pool = [];
  const above = spacer(columns.length);
  const below = spacer(columns.length);
  const body = h("tbody", null, above, below);
  const heads = columns.map((column) => head(column));
  const grid = h("table", { aria: { label } }, h("thead", null, h("tr", { aria: { rowindex: 1 } }, heads)), body);
  const none = h("p", { class: "empty" }, empty);
  const box = h(
    "div",
    { class: "table-scroll tall", tabIndex: 0, role: "group", aria: { label }, onscroll: () => plan() },
    grid,
  );
  const hold = () => {
    still = body.matches(":hover") || body.contains(document.activeElement);
  };
  for (const event of ["pointerenter", "pointerleave", "focusin", "focusout"])
    body.addEventListener(event, () => setTimeout(hold));
  const element = h("div", null, none, box);

  function head(column) {
    const cell = h("th", { scope: "col", class: `${column.number ? "number" : ""} ${column.only ?? ""}` });
    if (!column.value) {
      cell.append(column.hidden ? h("span", { class: "unseen" }, column.label) : column.label);
      return cell;
    }
    const choose = () => {
      down = by === column.key ? !down : Boolean(column.number);
      by = column.key;
      box.scrollTop = 0;
      arrange(true);
    };
    cell.append(
      h("button", { class: "button quiet tiny", type: "button", onclick: choose }, column.label, icon("down")),
    );
    return cell;
  }

  function arrange(anew) {
    const column = columns.find((one) => one.key === by);
    if (still && !anew) {
      const now = new Map(rows.map((row) => [id(row), row]));
      order = order.map((row) => now.get(id(row))).filter(Boolean);
      const there = new Set(order.map(id));
      for (const row of rows) if (!there.has(id(row))) order.push(row);
    } else {
      order = rows.map((row) => [column.value(row), row]);
      order.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
      order = order.map(([, row]) => row);
    }
    heads.forEach((cell, at) =>
      set(cell, { "aria-sort": columns[at].key === by ? (down ? "descending" : "ascending") : null }),
    );
    draw();
  }

  let planned = false;
  function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      draw();
    });
  }

  function draw() {
    show(none, !order.length);
    show(box, order.length);
    if (!order.length) return;
    const seen = Math.min(MOST - 2 * SPARE, Math.ceil((box.clientHeight || 600) / ROW) + 1);
    const first = Math.max(0, Math.min(Math.floor(box.scrollTop / ROW) - SPARE, order.length - seen - 2 * SPARE));
    const last = Math.min(order.length, first + seen + 2 * SPARE);
    while (pool.length < last - first) pool.push(line());
    pool.forEach((slot, at) => {
      const row = order[first + at];
      const wanted = first + at < last;
      if (wanted !== slot.there) {
        if (wanted) below.before(slot.element);
        else slot.element.remove();
        slot.there = wanted;
      }
      if (wanted) slot.tell(row, first + at);
    });
    stretch(above, first * ROW);
    stretch(below, (order.length - last) * ROW);
    set(grid, { "aria-rowcount": order.length + 1 });
  }

  function line() {
    const cells = columns.map((column) => column.make?.() ?? plain(column));
    const element = h(
      "tr",
      null,
      cells.map((cell, at) =>
        h("td", { class: `${columns[at].number ? "number" : ""} ${columns[at].only ?? ""}` }, cell.node),
      ),
    );
    return {
      element,
      there: false,
      tell(row, at) {
        set(element, { "aria-rowindex": at + 2 });
        for (const cell of cells) cell.tell(row);
      },
    };
  }

  element.tell = (other) => {
    rows = other;
    arrange(false);
  };
  element.box = box;
  return element;
}

function plain(column) {
  const node = h("span", null);
  return { node, tell: (row) => say(node, column.text(row)) };
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return a < b ? -1 : 1;
}

function spacer(columns) {
  return h("tr", { class: "space", hidden: true, aria: { hidden: "true" } }, h("td", { colSpan: columns }));
}

function stretch(row, height) {
  show(row, height > 0);
  const wanted = `${height}px`;
  if (row.style.height !== wanted) row.style.height = wanted;
}

/** A cell of a name in short: its whole in a tooltip, and a line below it. */
export function named(short, whole, beneath) {
  const name = h("span", { class: "mono" });
  const below = h("small", null);
  const node = h("span", null, name, below);
  return {
    node,
    tell(row) {
      say(name, short(row));
      set(name, { title: whole(row) });
      const text = beneath(row);
      say(below, text);
      show(below, text);
    },
  };
}
