// Sizes, rates and the week as settings are written, and back.

const SCALES = {
  "": 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  p: 1e15,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40,
  pi: 2 ** 50,
};
const PER = { s: 1, min: 60, h: 3600, d: 86400 };

/** Bytes of a text such as `500MB` or `2GiB`; null for another. */
export function readSize(text) {
  const found = /^(\d+(?:\.\d+)?)\s*([kmgtp]i?)?b?$/i.exec(String(text).trim());
  return found ? Number(found[1]) * SCALES[(found[2] ?? "").toLowerCase()] : null;
}

/** Bytes per second of a text such as `3MB/s` or `20Mbit/s`; null for another. */
export function readRate(text) {
  const found = /^(\d+(?:\.\d+)?)\s*([kmgtp]i?)?(b|bit)\/(s|min|h|d)$/i.exec(String(text).trim());
  if (!found) return null;
  return (
    (Number(found[1]) * SCALES[(found[2] ?? "").toLowerCase()]) /
    (found[3].toLowerCase() === "bit" ? 8 : 1) /
    PER[found[4].toLowerCase()]
  );
}

const UNITS = [
  ["GB", 1e9],
  ["MB", 1e6],
  ["kB", 1e3],
];

/** A number of bytes as an amount and its unit, such as `[500, "MB"]`. */
export function splitSize(bytes) {
  const [unit, scale] = UNITS.find(([, one]) => bytes >= one) ?? UNITS.at(-1);
  return [Number((bytes / scale).toPrecision(6)), unit];
}

/** Bytes per second as a setting is written: `1250kB/s`. */
export function writeRate(bytesPerSecond) {
  const kilo = Math.max(1, Math.round(bytesPerSecond / 1000));
  return kilo % 1000 === 0 ? `${kilo / 1000}MB/s` : `${kilo}kB/s`;
}

// --- the week ------------------------------------------------------------------------------------

export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
export const OPEN = "open";

/** 168 slots, hour 0 of Monday first, of rules as the node writes them: `mon 09-17 off`, or `open`. */
export function readWeek(rules) {
  const week = Array(168).fill(OPEN);
  for (const rule of Array.isArray(rules) ? rules : []) {
    const found = /^(\w{3}) (\d\d)-(\d\d) (\S+)$/.exec(rule);
    if (!found || !DAYS.includes(found[1])) continue;
    const at = 24 * DAYS.indexOf(found[1]);
    for (let hour = Number(found[2]); hour < Number(found[3]); hour += 1) week[at + hour] = found[4];
  }
  return week;
}

/** Rules of 168 slots; none when all are open. */
export function writeWeek(week) {
  const rules = [];
  const two = (hour) => String(hour).padStart(2, "0");
  DAYS.forEach((day, at) => {
    for (let hour = 0; hour < 24;) {
      const slot = week[24 * at + hour];
      const start = hour;
      while (hour < 24 && week[24 * at + hour] === slot) hour += 1;
      if (slot !== OPEN) rules.push(`${day} ${two(start)}-${two(hour)} ${slot}`);
    }
  });
  return rules;
}

/** What a slot is: `open`, `off`, `client`, `cooperative`, `dedicated` or `rate`. */
export const kindOf = (slot) => (readRate(slot) === null ? slot : "rate");
