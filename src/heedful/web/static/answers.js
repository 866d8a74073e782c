// How an answer, and a dialogue before it, are shown: as text, never as HTML.

import { el, letter, t } from "./page.js";

/** A dialogue; each turn says whose it is. */
export function dialogue(messages) {
  return messages.map((message) => el("div", { class: `turn ${message.role}` },
    el("span", { class: "who", text: t(`role_${message.role}`) }),
    el("p", { class: "text", dir: "auto", text: message.content })));
}

/** An answer's card: its letter, its text, and whatever belongs under it. */
export function card(index, text, ...below) {
  return el("article", { class: "answer", "aria-label": t("answer_name", { letter: letter(index) }) },
    el("header", {}, el("span", { class: "letter", "aria-hidden": "true", text: letter(index) })),
    el("p", { class: "text", dir: "auto", text: text || t("answer_empty") }), ...below);
}

/** What a criterion is called; one of the researchers' own is shown as they wrote it. */
export function criterionName(name, known) {
  return known(`criterion_${name}`) ? t(`criterion_${name}`) : name;
}
