// Numbers, sizes, times and names as people write them where they live.

const LOCALE = navigator.languages?.length ? [...navigator.languages] : undefined;
const formats = new Map();

function numbers(options) {
  const key = JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(LOCALE, options));
  return formats.get(key);
}

function dates(options) {
  const key = `d${JSON.stringify(options)}`;
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(LOCALE, options));
  return formats.get(key);
}

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte", "petabyte"];

function scaled(size, suffix) {
  let left = Math.abs(size);
  let unit = 0;
  while (left >= 999.5 && unit < UNITS.length - 1) {
    left /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || left >= 100 ? 0 : left >= 10 ? 1 : 2;
  const options = { style: "unit", unit: UNITS[unit] + suffix, unitDisplay: "short", maximumFractionDigits: digits };
  if (unit === 0 && suffix === "") options.unitDisplay = "long";
  // A figure and its unit stay on one line.
  return numbers(options).format(left).replaceAll(" ", "\u00a0");
}

/** Bytes with three digits: `12.3 MB`. */
export const size = (bytes) => scaled(bytes, "");
/** Bytes per second: `1.5 MB/s`. */
export const rate = (bytesPerSecond) => scaled(bytesPerSecond, "-per-second");
/** A whole or nearly whole number. */
export const number = (value, digits = 0) => numbers({ maximumFractionDigits: digits }).format(value);
/** 0…1 as `42%`; what is a little more than nothing says so. */
export function percent(share) {
  const format = numbers({ style: "percent", maximumFractionDigits: 0 });
  return share > 0 && share < 0.01
    ? `<\u00a0${format.format(0.01)}`
    : format.format(Math.min(share, 1) >= 1 ? share : Math.min(share, 0.99));
}
/** `23 ms`. */
export const milliseconds = (value) =>
  numbers({
    style: "unit",
    unit: "millisecond",
    unitDisplay: "short",
    maximumFractionDigits: value < 10 ? 1 : 0,
  }).format(value);

/** Seconds in the two largest units, for tables: `1h 12m`. */
export const brief = (seconds) => duration(seconds, "narrow");

/** Seconds in the two largest units: `1 hr 12 mins`. */
export function duration(seconds, unitDisplay = "short") {
  let left = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, length] of [
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
    ["second", 1],
  ]) {
    if (left >= length || (unit === "second" && parts.length === 0)) {
      parts.push(numbers({ style: "unit", unit, unitDisplay }).format(Math.floor(left / length)));
      left %= length;
    } else if (parts.length) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** `14:05` today, `Tue 14:05` within a week of now, else the date too. Takes Unix seconds. */
export function moment(at, now = Date.now() / 1000) {
  const when = new Date(at * 1000);
  const today = new Date(now * 1000);
  const clock = { hour: "2-digit", minute: "2-digit" };
  if (when.toDateString() === today.toDateString()) return dates(clock).format(when);
  if (Math.abs(at - now) < 6.5 * 86400) return dates({ weekday: "short", ...clock }).format(when);
  return dates({ year: "numeric", month: "short", day: "numeric", ...clock }).format(when);
}

/** `14:05:09`. Takes Unix seconds. */
export const clock = (at) =>
  dates({ hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(at * 1000));
/** A moment in full, for tooltips and tables. */
export const full = (at) => dates({ dateStyle: "medium", timeStyle: "short" }).format(new Date(at * 1000));
/** `3 Nov`. */
export const day = (at) => dates({ month: "short", day: "numeric" }).format(new Date(at * 1000));
/** The hours of the day as the locale counts them: `09` or `9 AM`. */
export const hourOfDay = (hour) => dates({ hour: "2-digit" }).format(new Date(2024, 0, 1, hour));
/** `14:00`. */
export const clockHour = (hour) =>
  dates({ hour: "2-digit", minute: "2-digit" }).format(new Date(2024, 0, 1, hour % 24));
/** The days of the week from Monday on. */
export const weekdays = (style = "short") =>
  Array.from({ length: 7 }, (_, at) => dates({ weekday: style }).format(new Date(2024, 0, 1 + at)));

/** A peer id, shortened as everywhere else in towpath: its last six characters. */
export const shortId = (id) => (id && id.length > 12 ? `…${id.slice(-6)}` : (id ?? ""));
