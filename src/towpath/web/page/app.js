// The shell: navigation, which page is shown, and what is said above all pages.

import { Api } from "./api.js";
import * as circuits from "./pages/circuits.js";
import * as health from "./pages/health.js";
import * as home from "./pages/home.js";
import * as ledger from "./pages/ledger.js";
import * as limits from "./pages/limits.js";
import * as relays from "./pages/relays.js";
import * as settings from "./pages/settings.js";
import * as traffic from "./pages/traffic.js";
import * as welcome from "./pages/welcome.js";
import { h, icon, say, set, show } from "./parts/dom.js";
import { installToasts } from "./parts/toast.js";
import { applyTheme, themeSwitch } from "./parts/theme.js";
import { t } from "./parts/words.js";

// All of them now: a script that was loaded later might come from whoever has the port of a node that stopped.
const NAVIGATED = { home, traffic, circuits, limits, relays, ledger, health, settings };
const ALONE = { welcome };
const PAGES = Object.keys(NAVIGATED);
const WELCOMED = "towpath.welcomed";

applyTheme();
const api = new Api();

const main = h("main", { id: "main", class: "page", tabIndex: -1 });
const banner = h("div", { class: "banner", role: "status" });
const links = new Map(
  PAGES.map((name) => [
    name,
    h("a", { href: `#/${name}`, class: "nav-link" }, icon(name), h("span", null, t(`nav.${name}`))),
  ]),
);
const list = h(
  "ul",
  { id: "nav-list", class: "nav-list", role: "list" },
  [...links.values()].map((link) => h("li", null, link)),
);
const menu = h(
  "button",
  {
    class: "button quiet menu",
    type: "button",
    aria: { expanded: "false", controls: "nav-list" },
    onclick: () => openMenu(),
  },
  icon("menu"),
  h("span", null, t("nav.menu")),
);
const nav = h(
  "nav",
  { class: "nav", aria: { label: t("nav.label") } },
  h(
    "div",
    { class: "nav-inner" },
    h(
      "div",
      { class: "brand" },
      h(
        "a",
        { href: "#/home", class: "brand-link" },
        h("img", { src: "icon.svg", alt: "", width: 28, height: 28 }),
        "towpath",
      ),
      menu,
    ),
    list,
    h("div", { class: "nav-foot" }, themeSwitch()),
  ),
);
const skip = h(
  "a",
  { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), main.focus()) },
  t("nav.skip"),
);

function openMenu(open = menu.getAttribute("aria-expanded") !== "true") {
  set(menu, { "aria-expanded": open });
  nav.classList.toggle("open", open);
}
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || menu.getAttribute("aria-expanded") !== "true") return;
  openMenu(false);
  menu.focus();
});

// --- which page ------------------------------------------------------------------------------------

let unmount = null;
let shown = null;

function wanted() {
  const name = /^#\/([a-z]+)/.exec(location.hash)?.[1];
  return Object.hasOwn(NAVIGATED, name) || Object.hasOwn(ALONE, name) ? name : "home";
}

function route() {
  const name = wanted();
  if (api.state === "denied" || name === shown) return;
  for (const [one, link] of links) set(link, { "aria-current": one === name ? "page" : null });
  openMenu(false);
  const page = NAVIGATED[name] ?? ALONE[name];
  const first = shown === null;
  leave();
  shown = name;
  alone();
  document.title = `${page.title} · towpath`;
  unmount = page.mount(main, api);
  scrollTo(0, 0);
  // Who reads with the ears is told where they are now; at the first page the browser says it.
  if (!first) main.focus({ preventScroll: true });
}

/** Pages that stand alone have no navigation beside them. */
function alone() {
  document.body.classList.toggle("alone", api.state === "denied" || Object.hasOwn(ALONE, shown));
}

function leave() {
  unmount?.();
  unmount = null;
  shown = null;
  main.replaceChildren();
}

// --- what is said above all pages -------------------------------------------------------------------

api.onState((state) => {
  const sentence = { down: "shell.stopped", stranger: "shell.stranger" }[state];
  show(banner, sentence);
  say(banner, sentence ? t(sentence) : "");
  document.body.classList.toggle("stopped", Boolean(sentence));
  alone();
  if (state === "denied") {
    leave();
    main.append(
      h(
        "section",
        { class: "card narrow" },
        h("h1", null, t("shell.denied_title")),
        h("p", null, t("shell.denied")),
        h("pre", null, "towpath web"),
      ),
    );
  } else {
    route();
  }
});

document.body.append(skip, nav, h("div", { class: "content" }, banner, main));
installToasts();
addEventListener("hashchange", route);
api.follow();

/** The first visit: nobody said yet what this node is to do. */
async function beWelcomed() {
  if (api.state === "denied" || localStorage.getItem(WELCOMED) || wanted() !== "home") return;
  const rows = await api.get("/v1/settings").catch(() => null);
  if (rows?.["relay.mode"]?.source === "default" && wanted() === "home") location.hash = "#/welcome";
}
beWelcomed();
