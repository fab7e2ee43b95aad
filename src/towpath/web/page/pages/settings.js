// Settings: every setting of the node, in groups, with its default, where it comes from and what a restart needs.

import { card, note, pageHead } from "../parts/card.js";
import { asItIs, change } from "../parts/change.js";
import { fill, freshId, h, icon, say, set, show } from "../parts/dom.js";
import { capital, known, t } from "../parts/words.js";

export const title = t("settings.title");
const WORDY = new Set(["list", "path", "listen"]);

export function mount(element, api) {
  const groups = new Map();
  const rows = new Map();
  const waiting = note(t("settings.waiting"));
  const nothing = h("p", { class: "empty", role: "status" });
  const place = h("div", { class: "stack groups" });
  let wanted = "";
  let changedOnly = false;
  const search = h("input", {
    class: "field",
    type: "search",
    placeholder: t("settings.search"),
    aria: { label: t("settings.search_label") },
    oninput: () => {
      wanted = search.value.trim().toLocaleLowerCase();
      sift();
    },
  });
  const only = h("input", {
    type: "checkbox",
    onchange: () => {
      changedOnly = only.checked;
      sift();
    },
  });
  show(waiting, false);
  element.append(
    pageHead(
      title,
      t("settings.about"),
      h("div", { class: "line" }, h("label", { class: "line check" }, only, t("settings.changed_only")), search),
    ),
    waiting,
    nothing,
    place,
  );

  function tell(settings) {
    for (const [key, setting] of Object.entries(settings)) {
      if (!rows.has(key)) add(key, setting);
      rows.get(key).tell(setting);
    }
    sift();
  }

  function add(key, setting) {
    const section = key.split(".")[0];
    if (!groups.has(section)) {
      const list = h("div", { class: "rows" });
      const about = known(`settings.groups.${section}_about`)
        ? h("p", { class: "muted" }, t(`settings.groups.${section}_about`))
        : null;
      const name = known(`settings.groups.${section}`) ? t(`settings.groups.${section}`) : capital(section);
      const box = card(name, {}, about, list);
      groups.set(section, { box, list, rows: [] });
      place.append(box);
    }
    const row = line(key, setting, save);
    rows.set(key, row);
    groups.get(section).rows.push(row);
    groups.get(section).list.append(row.element);
  }

  async function save(key, setting, value, refused) {
    const before = { [key]: asItIs(setting) };
    const done = await change(api, { [key]: value }, before, refused);
    if (done && setting.restart) show(waiting, true);
    return done;
  }

  function sift() {
    let found = 0;
    for (const group of groups.values()) {
      let some = false;
      for (const row of group.rows) {
        const fits = (!wanted || row.words.includes(wanted)) && (!changedOnly || row.isSet());
        show(row.element, fits);
        some ||= fits;
        found += fits;
      }
      show(group.box, some);
    }
    say(nothing, found || !rows.size ? "" : t("settings.nothing"));
    show(nothing, !found && rows.size);
  }

  return api.watch("/v1/settings", 10, tell);
}

/** A key without its section, as words: `max_rate` as `Max rate`. */
function nameOf(key) {
  return known(`settings.names.${key}`) ? t(`settings.names.${key}`) : capital(key.split(".")[1].replaceAll("_", " "));
}

/** One setting. `tell(setting)` shows it, unless it is being edited; `words` is what a search looks in. */
function line(key, first, save) {
  const id = freshId("setting");
  const name = nameOf(key);
  const wrong = h("p", { class: "wrong", id: `${id}-wrong`, role: "alert", hidden: true });
  const standing = h("span", { class: "breaks" });
  const reset = h(
    "button",
    { class: "button tiny", type: "button", onclick: () => keep(null) },
    icon("undo"),
    t("settings.reset"),
    h("span", { class: "unseen" }, `: ${name}`),
  );
  let setting = first;
  const control = controlOf(first, { id, name, keep, describedby: `${id}-about ${id}-wrong` });
  const badges = h("span", { class: "line" });
  const element = h(
    "div",
    { class: "setting", data: { key } },
    h(
      "div",
      { class: "stack tight" },
      h(
        "div",
        { class: "line" },
        h(
          control.labelled ? "span" : "label",
          { class: "label", id: `${id}-name`, htmlFor: control.labelled ? null : id },
          name,
        ),
        badges,
      ),
      h("p", { class: "muted small", id: `${id}-about` }, first.meaning.replaceAll("`", "")),
      h("p", { class: "small muted" }, h("code", null, key), " · ", standing),
    ),
    h("div", { class: "stack tight setting-value" }, control.element, wrong, reset),
  );

  async function keep(value) {
    const refused = (error) => {
      say(wrong, error.message);
      show(wrong, true);
      set(control.input, { "aria-invalid": "true" });
    };
    if (!(await save(key, setting, value, refused))) {
      if (wrong.hidden) control.tell(setting.value);
      return;
    }
    show(wrong, false);
    set(control.input, { "aria-invalid": null });
  }

  return {
    element,
    words: `${key} ${name} ${first.meaning}`.toLocaleLowerCase(),
    isSet: () => setting.source !== "default",
    tell(now) {
      setting = now;
      if (!element.contains(document.activeElement) || document.activeElement === reset) {
        control.tell(now.value);
        show(wrong, false);
        set(control.input, { "aria-invalid": null });
      } else if (control.follows) control.tell(now.value);
      const isDefault = now.source === "default";
      say(standing, isDefault ? t("settings.is_default") : t("settings.default", { value: inWords(now.default) }));
      set(standing, { title: isDefault ? null : t("settings.from", { source: now.source }) });
      show(reset, !isDefault);
      fill(badges, [now.restart, now.in_effect], () => [
        now.restart ? h("span", { class: "badge" }, t("settings.restart")) : null,
        now.in_effect ? null : h("span", { class: "badge" }, t("settings.later")),
      ]);
    },
  };
}

/** A value as people read it. */
function inWords(value) {
  if (typeof value === "boolean") return t(value ? "settings.on" : "settings.off");
  if (Array.isArray(value)) return value.length ? value.join(", ") : t("settings.empty");
  return String(value);
}

// --- what a value is changed with ------------------------------------------------------------------

function controlOf(setting, how) {
  if (setting.kind === "switch") return switchOf(how);
  if (setting.kind === "choice") return choiceOf(setting, how);
  if (setting.kind === "schedule") return linkOf(how);
  return textOf(setting, how);
}

function switchOf({ id, name, keep, describedby }) {
  const input = h("input", {
    type: "checkbox",
    role: "switch",
    id,
    aria: { label: name, describedby },
    onchange: () => keep(input.checked),
  });
  return {
    element: h("div", { class: "switch alone" }, input),
    input,
    follows: true,
    tell(value) {
      input.checked = value;
    },
  };
}

function choiceOf({ words }, { id, keep, describedby }) {
  const input = h(
    "select",
    { class: "field", id, aria: { describedby }, onchange: () => keep(input.value) },
    words.map((word) => h("option", { value: word }, capital(word.replaceAll("_", " ")))),
  );
  return {
    element: input,
    input,
    follows: true,
    tell(value) {
      input.value = value;
    },
  };
}

function linkOf({ id }) {
  const input = h(
    "a",
    { class: "button", href: "#/limits", id, aria: { labelledby: `${id}-name ${id}` } },
    t("settings.schedule"),
  );
  return { element: input, input, labelled: true, tell() {} };
}

function textOf({ kind, allowed, words }, { id, keep, describedby }) {
  const list = kind === "list";
  const read = () => {
    const text = input.value.trim();
    if (list)
      return text
        .split(/[\n,]/)
        .map((part) => part.trim())
        .filter(Boolean);
    return kind === "count" && /^\d{1,15}$/.test(text) ? Number(text) : text;
  };
  let shown = null;
  const changed = () => {
    const value = read();
    if (JSON.stringify(value) !== JSON.stringify(shown)) keep(value);
  };
  const hint = freshId("hint");
  const input = h(list ? "textarea" : "input", {
    class: `field ${WORDY.has(kind) ? "" : "figures"}`,
    id,
    rows: list ? 2 : null,
    type: list ? null : "text",
    spellcheck: false,
    autocomplete: "off",
    aria: { describedby: `${describedby} ${hint}` },
    onchange: changed,
  });
  return {
    element: h(
      "div",
      { class: "stack tight" },
      input,
      h("p", { class: "small muted", id: hint }, capital(hintOf(kind, words, allowed))),
    ),
    input,
    tell(value) {
      shown = value;
      input.value = Array.isArray(value) ? value.join("\n") : value;
    },
  };
}

/** What may stand there, in short. */
function hintOf(kind, words, allowed) {
  if (kind === "list") return t("settings.hints.list", { what: allowed.replace(/^a list of /, "") });
  const form = known(`settings.hints.${kind}`) ? t(`settings.hints.${kind}`) : allowed;
  return words.length ? t("settings.hints.or", { form, words: words.join(", ") }) : form;
}
