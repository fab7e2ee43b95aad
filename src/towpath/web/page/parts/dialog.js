// Questions before what cannot be taken back, and lists of actions behind a button.

import { freshId, h, icon, set, show } from "./dom.js";
import { t } from "./words.js";

/** Asks; resolves to true when the answer is `yes` (a word for the button). `more` stands below the sentence. */
export function ask(title, sentence, yes, more = null) {
  const id = freshId("dialog");
  const dialog = h(
    "dialog",
    { aria: { labelledby: id } },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id }, title),
      h("p", null, sentence),
      more,
      h(
        "div",
        { class: "actions" },
        h("button", { class: "button", value: "no" }, t("shell.cancel")),
        h("button", { class: "button danger", value: "yes" }, yes),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
  });
}

/** A button that opens a list of actions: pairs of a text and a function. Escape and a click elsewhere close it. */
export function actions(label, sign, items) {
  const id = freshId("actions");
  const open = (wanted) => {
    show(list, wanted);
    set(button, { "aria-expanded": wanted });
    if (wanted) list.querySelector("button").focus();
  };
  const list = h(
    "ul",
    { id, hidden: true, role: "list" },
    items.map(([text, action]) => {
      const act = () => {
        open(false);
        button.focus();
        action();
      };
      return h("li", null, h("button", { class: "button", type: "button", onclick: act }, text));
    }),
  );
  const button = h(
    "button",
    { class: "button", type: "button", aria: { expanded: "false", controls: id }, onclick: () => open(list.hidden) },
    icon(sign),
    label,
  );
  return h(
    "div",
    {
      class: "popup",
      onfocusout: (event) => {
        if (!event.currentTarget.contains(event.relatedTarget)) open(false);
      },
      onkeydown: (event) => {
        const buttons = [...list.querySelectorAll("button")];
        const at = buttons.indexOf(document.activeElement);
        if (event.key === "Escape" && !list.hidden) {
          open(false);
          button.focus();
        } else if (event.key === "ArrowDown" && !list.hidden) {
          buttons[(at + 1) % buttons.length].focus();
          event.preventDefault();
        } else if (event.key === "ArrowUp" && !list.hidden) {
          buttons.at(at - 1).focus();
          event.preventDefault();
        }
      },
    },
    button,
    list,
  );
}
