// The first visit: what the node is to do, how fast at most, done.

import { rate } from "../format.js";
import { capSlider } from "../parts/cap.js";
import { facts, note } from "../parts/card.js";
import { options } from "../parts/choice.js";
import { h, say, set, show } from "../parts/dom.js";
import { attempt } from "../parts/toast.js";
import { readRate } from "../parts/values.js";
import { t } from "../parts/words.js";

export const title = t("welcome.title");
const MODES = ["client", "cooperative", "dedicated"];
const STEPS = 3;

export function mount(element, api) {
  let mode = null;
  let cap = "auto";
  let step = 0;

  const about = note(t("welcome.ip_relay"));
  const choose = h(
    "div",
    { class: "stack" },
    h("p", null, t("welcome.mode_about")),
    options(
      t("welcome.mode"),
      MODES.map((one) => [one, t(`modes.${one}`), t(`modes.${one}_about`)]),
      mode,
      (one) => {
        mode = one;
        next.disabled = false;
        tellIp();
      },
    ),
    h("h3", null, t("welcome.ip_title")),
    about,
  );
  const tellIp = () => about.tell(t(mode === "client" ? "welcome.ip_client" : "welcome.ip_relay"));

  const slider = capSlider(async (value) => {
    cap = value;
    return true;
  });
  slider.tell(cap);
  const capAbout = h("p", null, t("welcome.cap_about"));
  const limit = h("div", { class: "stack" }, capAbout, slider);

  const summary = facts([
    ["mode", t("welcome.done_mode")],
    ["cap", t("welcome.done_cap")],
  ]);
  const thanks = h("p", null);
  const done = h("div", { class: "stack" }, thanks, summary, h("p", { class: "muted" }, t("welcome.done_pause")));

  const titles = [t("welcome.mode"), t("welcome.cap"), t("welcome.done")];
  const heading = h("h2", { tabIndex: -1 });
  const number = h("p", { class: "small muted figures" });
  const dots = h(
    "div",
    { class: "dots", aria: { hidden: "true" } },
    Array.from({ length: STEPS }, () => h("span", null)),
  );
  const bodies = [choose, limit, done];
  const back = h("button", { class: "button", type: "button", onclick: () => go(step - 1) }, t("welcome.back"));
  const next = h("button", { class: "button first", type: "button", onclick: () => forward() });
  const skip = h("button", { class: "button quiet", type: "button", onclick: leave }, t("welcome.skip"));
  element.append(
    h(
      "section",
      { class: "card narrow welcome" },
      h("div", { class: "line apart" }, h("h1", null, t("welcome.hello")), dots),
      h("div", null, number, heading),
      bodies,
      h("div", { class: "line apart" }, skip, h("span", { class: "line onward" }, back, next)),
    ),
  );

  function go(to) {
    step = to;
    say(heading, titles[step]);
    say(number, t("welcome.step", { n: step + 1, step: step + 1 }));
    bodies.forEach((body, at) => show(body, at === step));
    next.disabled = mode === null;
    [...dots.children].forEach((dot, at) => dot.classList.toggle("on", at <= step));
    show(back, step > 0 && step < STEPS - 1);
    show(skip, step === 0);
    say(next, t(step === STEPS - 1 ? "welcome.finish" : "welcome.next"));
    set(number, { "aria-live": "polite" });
  }

  async function forward() {
    if (step === 0) {
      say(capAbout, t(mode === "client" ? "welcome.cap_client" : "welcome.cap_about"));
      show(slider, mode !== "client");
      go(1);
    } else if (step === 1) {
      next.disabled = true;
      const values = { "relay.mode": mode, ...(mode === "client" ? {} : { "relay.max_rate": cap }) };
      const kept = await attempt(() => api.patch("/v1/settings", values));
      next.disabled = false;
      if (!kept) return;
      localStorage.setItem("towpath.welcomed", "1");
      say(thanks, t(mode === "client" ? "welcome.done_client" : "welcome.done_relay"));
      summary.tell("mode", t(`modes.${mode}`));
      summary.tell(
        "cap",
        mode === "client"
          ? t("welcome.cap_none")
          : cap === "auto"
            ? t("cap.auto_words")
            : cap === "unlimited"
              ? t("shell.unlimited")
              : rate(readRate(cap)),
      );
      go(2);
    } else {
      leave();
      return;
    }
    heading.focus();
  }

  function leave() {
    localStorage.setItem("towpath.welcomed", "1");
    location.hash = "#/home";
  }

  tellIp();
  go(0);
  const stop = api.watch("/v1/limits", 10, ({ rate: now }) => slider.inForce(now.limit));
  return stop;
}
