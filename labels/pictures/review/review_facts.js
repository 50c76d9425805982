// What is known of the label that is judged, in words: beside its picture.

import { element } from "./review_asking.js";

const byId = (id) => document.getElementById(id);

export function showTerms(list, terms) {
  list.replaceChildren(...terms.flatMap(([term, words]) => [element("dt", { textContent: term }), element("dd", {}, words)]));
}

// The classes to choose from, with the keys that choose them, and the one that is.
export function showClasses(select, classes, name) {
  const names = classes.includes(name) ? classes : [...classes, name];
  select.replaceChildren(...names.map((each, place) => element("option", { value: each, textContent: place < 9 ? `${place + 1}  ${each}` : each })));
  select.value = name;
}

export const heldOutTerms = (item) => (item.held_out ? [["held out", "it is there to judge by; what you say counts as its label"]] : []);

export const reasonWords = (label, rules) => (rules[label.rule] ? `${rules[label.rule]} (${label.reason})` : label.reason);

export function decisionWords(label) {
  const words = { keep: "kept", ignore: "ignored", drop: "dropped" }[label.decision];
  return label.origin === "detected" ? words : `${words}, ${label.origin === "human" ? "a person said so" : label.origin}`;
}

// What is known of the label that is shown.
export function showFacts({ item, label, page }) {
  const name = label.right_class || label.class;
  const many = item.count > 1 ? (item.track ? `a track of ${item.count} labels` : `${item.count} labels in one place`) : "one label";
  byId("question").textContent = `Is this a ${name}?`;
  const verdict = { y: label.right_box || label.right_class ? "right, corrected" : "right", n: "wrong" }[label.verdict];
  showTerms(byId("facts"), [
    ["decides", many + (item.duplicates ? `, and ${item.duplicates} of the same seen twice` : "")],
    ...heldOutTerms(item),
    ["now", element("span", {}, element("span", { className: `swatch ${label.style}` }), decisionWords(label))],
    ...(label.reason ? [["because", reasonWords(label, page.rules)]] : []),
    ["score", label.score.toFixed(2)],
    ["quality", label.quality.toFixed(2)],
    ...(verdict ? [["you said", verdict]] : []),
  ]);
  const [bar, low, high] = byId("quality").children;
  bar.style.width = `${label.quality * 100}%`;
  [low, high].forEach((mark, place) => { mark.style.left = `${page.thresholds[place] * 100}%`; });
  byId("quality").setAttribute("aria-label", `quality ${label.quality}; ignored from ${page.thresholds[0]}, kept from ${page.thresholds[1]}`);
  showClasses(byId("class"), page.classes, name);
}
