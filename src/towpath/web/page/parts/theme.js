// Light, dark, or as the system has it; kept in this browser.

import { h } from "./dom.js";
import { segments } from "./choice.js";
import { t } from "./words.js";

const KEY = "towpath.theme";
const THEMES = ["system", "light", "dark"];
const current = () => (THEMES.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "system");

/** Goes by what was chosen before. */
export function applyTheme() {
  const theme = current();
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event("themechange"));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));

/** The control for it. */
export function themeSwitch() {
  return h(
    "div",
    { class: "theme" },
    segments(
      t("shell.theme"),
      THEMES.map((theme) => [theme, t(`shell.themes.${theme}`)]),
      current(),
      (theme) => {
        localStorage.setItem(KEY, theme);
        applyTheme();
      },
    ),
  );
}

/** What a CSS colour variable is right now. */
export function colour(name) {
  const probe = h("span", { style: { color: `var(${name})` }, hidden: true });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
