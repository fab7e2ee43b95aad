// Elements, made without HTML: whatever a peer calls itself is text here, and stays text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `props`: `class`, `on*` (listeners), `style` (an object, set through CSSOM, as the content policy wants),
 * `data` and `aria` (objects), DOM properties by name where there is one, else attributes; null and undefined are left
 * out. Children are nodes, texts, or arrays of them; null and false are left out.
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined) continue;
    if (name === "class") element.className = value;
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "aria") for (const [key, one] of Object.entries(value)) setAttribute(element, `aria-${key}`, one);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list" && name !== "role") element[name] = value;
    else setAttribute(element, name, value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

function setAttribute(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Sets an element's text, if it is another: what did not change is not touched, nor read out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  return element;
}

/** Sets or removes attributes, only where they change. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  return element;
}

/** Replaces an element's children when `key` is not what it was filled for last. */
export function fill(element, key, make) {
  const text = JSON.stringify(key);
  if (element.filledFor === text) return element;
  element.filledFor = text;
  const made = make();
  element.replaceChildren();
  append(element, [made]);
  return element;
}

/** Shows or hides an element. */
export function show(element, shown) {
  if (element.hidden === Boolean(shown)) element.hidden = !shown;
  return element;
}

let numbered = 0;
/** An id that nothing else has. */
export const freshId = (word) => `${word}-${(numbered += 1)}`;

const PATHS = {
  home: "M4 11.5 12 5l8 6.5M6.5 10v9h11v-9",
  traffic: "M4 18V6M4 18h16M7.5 14.5l3.5-4 3 2.5 4.5-6",
  circuits:
    "M8 7h9.5a2.5 2.5 0 0 1 0 5h-11a2.5 2.5 0 0 0 0 5H16M6 9a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM18 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z",
  limits: "M5 8h7M16 8h3M5 16h3M12 16h7M14 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM10 18a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z",
  relays:
    "M12 13a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM12 13v7M8.5 14.5a5 5 0 0 1 0-7M15.5 7.5a5 5 0 0 1 0 7M6 17a8.5 8.5 0 0 1 0-12M18 5a8.5 8.5 0 0 1 0 12",
  ledger: "M6 4.5h12v15l-2.5-1.6-1.8 1.6-1.7-1.6-1.7 1.6-1.8-1.6L6 19.5ZM9 9h6M9 13h6",
  health: "M4 12.5h4l2-5 3.5 9.5 2.2-4.5H20",
  settings:
    "M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM12 3.5v2.4M12 18.1v2.4M3.5 12h2.4M18.1 12h2.4M6 6l1.7 1.7M16.3 16.3 18 18M18 6l-1.7 1.7M7.7 16.3 6 18",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6 6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  warning: "M12 4.5 21 19.5H3ZM12 10v4.5M12 17v.2",
  info: "M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16ZM12 11v5M12 8v.2",
  pause: "M9 6v12M15 6v12",
  play: "M8 5.5v13l10.5-6.5Z",
  up: "M12 19V6M6.5 11 12 5.5l5.5 5.5",
  down: "M12 5v13M6.5 13l5.5 5.5 5.5-5.5",
  block: "M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16ZM6.5 6.5l11 11",
  undo: "M5 9h9a5 5 0 0 1 0 10H9M5 9l4-4M5 9l4 4",
};

/** A drawing of 24 × 24, in the colour of the text; a screen reader passes over it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [
    ["viewBox", "0 0 24 24"],
    ["class", "icon"],
    ["aria-hidden", "true"],
  ])
    svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
