// Health & log: what is wrong with the node and its machine and how to mend it, and what happened.

import { full, moment } from "../format.js";
import { card, pageHead } from "../parts/card.js";
import { asItIs, change } from "../parts/change.js";
import { segments } from "../parts/choice.js";
import { fill, h, icon, say, show } from "../parts/dom.js";
import { attempt, toast } from "../parts/toast.js";
import { capital, known, t } from "../parts/words.js";

export const title = t("health.title");
const AT_ONCE = 100;
const KEPT = 1000;
const PROBLEMS = /fail|error|refused|damaged|not_served|not_reloaded|missed|lost|exhausted|problem/;
const KINDS = [
  ["all", () => true],
  ["relaying", (kind) => /^relay|circuit|reservation|quota|line|state/.test(kind)],
  ["connections", (kind) => /connect|reserv|held|reach|discover|advert|direct|hid|peer|dht|mdns/.test(kind)],
  ["settings", (kind) => kind.startsWith("setting")],
  ["problems", (kind) => PROBLEMS.test(kind)],
];

export function mount(element, api) {
  const found = findings(api);
  const past = log(api);
  element.append(pageHead(title, t("health.about")), found.element, past.element);
  return () => {
    found.stop();
    past.stop();
  };
}

// --- what is wrong ---------------------------------------------------------------------------------

function findings(api) {
  const list = h("ul", { class: "rows", role: "list" });
  const summary = h("p", { role: "status" }, t("health.looking"));
  const well = h("ul", { class: "rows small", role: "list" });
  const wellName = h("summary", null);
  const rest = h("details", { hidden: true }, wellName, well);
  const button = h("button", { class: "button", type: "button", onclick: () => look() }, t("health.again"));
  const element = card(t("health.checkup"), { right: button }, summary, list, rest);

  async function look() {
    button.disabled = true;
    say(summary, t("health.looking"));
    const done = await attempt(async () => tell(await api.get("/v1/doctor")));
    if (!done) say(summary, t("health.not_looked"));
    button.disabled = false;
  }

  function tell({ counts, findings: rows }) {
    const bad = counts.problem + counts.warning;
    const words = [
      counts.problem ? t("health.problems", { n: counts.problem }) : null,
      counts.warning ? t("health.warnings", { n: counts.warning }) : null,
    ].filter(Boolean);
    say(summary, bad ? t("health.found", { what: words.join(t("health.and")) }) : t("health.all_well"));
    const rank = { problem: 0, warning: 1, ok: 2 };
    const sorted = [...rows].sort((a, b) => rank[a.level] - rank[b.level]);
    const mended = sorted.filter((row) => row.level === "ok");
    fill(
      list,
      sorted.filter((row) => row.level !== "ok"),
      () => sorted.filter((row) => row.level !== "ok").map((row) => finding(row, api, look)),
    );
    fill(well, mended, () =>
      mended.map((row) =>
        h(
          "li",
          { class: "line" },
          h("span", { class: "subject muted" }, capital(row.subject)),
          h("span", { class: "breaks" }, row.what),
        ),
      ),
    );
    say(wellName, t("health.well", { n: mended.length }));
    show(rest, mended.length);
    show(list, bad);
  }

  look();
  return { element, stop() {} };
}

function finding(row, api, look) {
  const problem = row.level === "problem";
  return h(
    "li",
    { class: "stack tight" },
    h(
      "div",
      { class: "line" },
      h("span", { class: "badge alert" }, t(problem ? "health.problem" : "health.warning")),
      h("strong", null, capital(row.subject)),
    ),
    h("p", { class: "breaks" }, capital(row.what)),
    row.advice ? advice(row.advice) : null,
    mending(row, api, look),
  );
}

/** Buttons for what the node can do about it at once; null where it can do nothing. */
function mending({ settings = {}, check = false }, api, look) {
  const keys = Object.keys(settings);
  if (!keys.length && !check) return null;
  const said = h("p", { role: "status", hidden: true });
  const button = (words, act) => {
    const doing = async () => {
      made.disabled = true;
      await attempt(act);
      made.disabled = false;
    };
    const made = h("button", { class: "button tiny wraps", type: "button", onclick: doing }, words);
    return made;
  };
  const set = async () => {
    const before = await api.get("/v1/settings");
    const back = Object.fromEntries(keys.map((key) => [key, asItIs(before[key])]));
    if (await change(api, settings, back)) await look();
  };
  const ask = async () => {
    say(said, t("relays.checking"));
    show(said, true);
    try {
      say(said, (await api.post("/v1/check")).sentence);
    } catch (error) {
      show(said, false);
      throw error;
    }
  };
  const and = t("health.and");
  const given = keys.filter((key) => settings[key] !== null);
  const values = given.map((key) => t("health.value", { key, value: String(settings[key]) }));
  const words = [
    ...(values.length ? [t("health.set", { what: values.join(and) })] : []),
    ...keys.filter((key) => settings[key] === null).map((key) => t("health.unset", { key })),
  ];
  return h(
    "div",
    { class: "stack tight" },
    h(
      "div",
      { class: "line" },
      keys.length ? button(words.join(and), set) : null,
      check ? button(t("relays.check"), ask) : null,
    ),
    said,
  );
}

/** What to do: words, and commands that can be copied. */
function advice(text) {
  const parts = text.split("`");
  // A word alone is a name, not a command.
  const commands = parts.filter((part, at) => at % 2 && part.includes(" "));
  return h(
    "div",
    { class: "line apart" },
    h(
      "p",
      { class: "breaks" },
      h("span", { class: "muted" }, `${t("health.to_do")} `),
      parts.map((part, at) => (at % 2 ? h("code", null, part) : part)),
    ),
    commands.length ? h("span", { class: "line" }, commands.map(copy)) : null,
  );
}

function copy(command) {
  const act = () =>
    attempt(async () => {
      await navigator.clipboard.writeText(command);
      toast(t("health.copied"));
    });
  return h(
    "button",
    { class: "button tiny", type: "button", onclick: act },
    t("health.copy"),
    h("span", { class: "unseen" }, `: ${command}`),
  );
}

// --- what happened ---------------------------------------------------------------------------------

function log(api) {
  let events = [];
  let kind = "all";
  let wanted = "";
  let most = AT_ONCE;
  const list = h("ol", { class: "rows log", role: "list" });
  const summary = h("p", { class: "small muted", role: "status" });
  const more = h(
    "button",
    {
      class: "button",
      type: "button",
      onclick: () => {
        most += AT_ONCE;
        draw();
      },
    },
    t("health.older"),
  );
  const search = h("input", {
    class: "field",
    type: "search",
    placeholder: t("health.search"),
    aria: { label: t("health.search_label") },
    oninput: () => {
      wanted = search.value.trim().toLocaleLowerCase();
      most = AT_ONCE;
      draw();
    },
  });
  const filter = segments(
    t("health.filter"),
    KINDS.map(([word]) => [word, t(`health.kinds.${word}`)]),
    kind,
    (word) => {
      kind = word;
      most = AT_ONCE;
      draw();
    },
  );
  const older = h("div", null, more);
  const element = card(t("health.log"), { right: search }, h("div", null, filter), summary, list, older);

  function draw() {
    const belongs = KINDS.find(([word]) => word === kind)[1];
    const fitting = events.filter(
      (event) =>
        belongs(event.kind) && (!wanted || `${event.kind} ${event.sentence}`.toLocaleLowerCase().includes(wanted)),
    );
    const shown = fitting.slice(-most).reverse();
    fill(
      list,
      shown.map((event) => event.id),
      () => shown.map(entry),
    );
    show(list, shown.length);
    show(older, fitting.length > shown.length);
    say(summary, events.length ? t("health.shown", { n: fitting.length }) : t("health.nothing_happened"));
  }

  let timer = 0;
  const ask = async () => {
    try {
      events = await api.get(`/v1/log?limit=${KEPT}`);
    } catch {
      // The node is away; the shell says so, and the next event asks again.
      return;
    }
    draw();
  };
  // Events come in bursts.
  const soon = () => {
    timer ||= setTimeout(() => {
      timer = 0;
      ask();
    }, 500);
  };
  const stops = [api.onEvent(soon), api.onState((state) => state === "up" && soon()), () => clearTimeout(timer)];
  ask();
  return { element, stop: () => stops.forEach((stop) => stop?.()) };
}

function entry(event) {
  const bad = PROBLEMS.test(event.kind);
  return h(
    "li",
    { class: "event" },
    h(
      "time",
      { class: "muted figures nowrap", dateTime: new Date(1000 * event.at).toISOString(), title: full(event.at) },
      moment(event.at),
    ),
    h("span", { class: "breaks" }, bad ? h("span", { class: "sign" }, icon("warning")) : null, event.sentence),
    h(
      "span",
      { class: "muted small" },
      known(`health.words.${event.kind}`) ? t(`health.words.${event.kind}`) : event.kind.replaceAll("_", " "),
    ),
  );
}
