// Ways to choose: one of a few words, one of a few sentences, yes or no. All are native inputs beneath.

import { freshId, h } from "./dom.js";

/**
 * One of a few short words, side by side. `choices` are pairs of a value and its word. The element's `choose(value)`
 * shows another choice without calling back.
 */
export function segments(label, choices, value, onchange) {
  const name = freshId("segments");
  const inputs = new Map();
  const group = h("div", { class: "segments", role: "radiogroup", aria: { label } });
  for (const [one, word] of choices) {
    const input = h("input", {
      type: "radio",
      name,
      value: one,
      checked: one === value,
      onchange: () => onchange(one),
    });
    inputs.set(one, input);
    group.append(h("label", { class: "segment" }, input, h("span", null, word)));
  }
  group.choose = (one) => {
    if (inputs.has(one)) inputs.get(one).checked = true;
  };
  return group;
}

/** One of a few, each with a title and a sentence: triples of a value, a title and a sentence. As `segments` else. */
export function options(label, choices, value, onchange) {
  const name = freshId("options");
  const inputs = new Map();
  const group = h("div", { class: "options", role: "radiogroup", aria: { label } });
  for (const [one, title, sentence] of choices) {
    const about = freshId("about");
    const input = h("input", {
      type: "radio",
      name,
      value: one,
      checked: one === value,
      aria: { describedby: about },
      onchange: () => onchange(one),
    });
    inputs.set(one, input);
    group.append(
      h(
        "label",
        { class: "option" },
        input,
        h("strong", null, title),
        h("span", { id: about, aria: { hidden: "true" } }, sentence),
      ),
    );
  }
  group.choose = (one) => {
    for (const [key, input] of inputs) input.checked = key === one;
  };
  return group;
}

/** Yes or no, with a name and a sentence. The element's `turn(on)` shows another state without calling back. */
export function toggle(label, sentence, on, onchange) {
  const about = freshId("about");
  const input = h("input", {
    type: "checkbox",
    role: "switch",
    checked: on,
    aria: { describedby: about },
    onchange: () => onchange(input.checked),
  });
  const element = h(
    "label",
    { class: "switch" },
    h("span", { class: "label" }, label),
    input,
    h("small", { id: about, aria: { hidden: "true" } }, sentence),
  );
  element.turn = (value) => {
    input.checked = value;
  };
  return element;
}
