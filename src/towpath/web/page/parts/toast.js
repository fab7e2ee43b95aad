// Short messages at the foot of the page: what was done, with a way back, or why it was not.

import { h } from "./dom.js";
import { t } from "./words.js";

const SECONDS = 7;
let place = null;

/** Puts the place for messages into the page. */
export function installToasts() {
  place = h("div", { class: "toasts", role: "status", aria: { live: "polite" } });
  document.body.append(place);
}

/** Says something for some seconds; with `undo`, a function, offers to take it back. It stays while it has the focus, and until
 * the next one. */
export function toast(text, undo = null) {
  const message = h("div", { class: "toast" }, h("span", null, text));
  const leave = () => {
    if (message.matches(":hover, :focus-within")) setTimeout(leave, 1000);
    else message.remove();
  };
  if (undo) {
    const back = () => {
      message.remove();
      undo();
    };
    message.append(h("button", { class: "button tiny", type: "button", onclick: back }, t("shell.undo")));
  }
  place.replaceChildren(message);
  setTimeout(leave, 1000 * SECONDS);
}

/** Runs what may be refused, and says the refusal. Returns whether it was done. */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    toast(error.status === 0 ? t("shell.nobody_answers") : error.message);
    return false;
  }
}
