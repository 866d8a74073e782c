// Two answers side by side: which is better, and how much (Llama 2's four strengths), on each criterion.

import { card, criterionName } from "./answers.js";
import { el, known, t, toast } from "./page.js";
import { scale } from "./scale.js";

// From left to right, as the answers stand: the first significantly better ... the second significantly better.
const STRENGTHS = [3, 2, 1, 0, -1, -2, -3];

export function question(assignment, { changed }) {
  const side = (value) => (value > 0 ? "A" : "B");
  const options = STRENGTHS.map((value) => ({
    value,
    label: t(`strength_short_${Math.abs(value)}`),
    short: value === 0 ? "=" : side(value) + "›".repeat(Math.abs(value)),
    title: value === 0 ? t("strength_0") : t(`strength_${Math.abs(value)}`, { letter: side(value) }),
    tone: value === 0 ? "even" : value > 0 ? "left" : "right",
  }));
  const rows = assignment.criteria.map((criterion, at) => ({
    criterion,
    ...scale(criterionName(criterion, known), options, () => { go(at); changed(); }, { look: "strength" }),
  }));
  let current = 0;

  function go(to, focus = false) {
    rows[current].mark(false);
    current = Math.max(0, Math.min(rows.length - 1, to));
    rows[current].mark(true);
    if (focus) rows[current].focus();
  }
  function put(value) {
    rows[current].set(value);
    changed();
    if (current < rows.length - 1) go(current + 1, true);
    else rows[current].focus();
  }
  rows.forEach((row, at) => row.root.addEventListener("focusin", () => go(at)));
  go(0);

  const keys = { ArrowUp: () => go(current - 1, true), ArrowDown: () => go(current + 1, true) };
  STRENGTHS.forEach((value, index) => { keys[String(index + 1)] = () => put(value); });
  return {
    root: el("div", {}, el("div", { class: "answers of-2" },
      ...assignment.answers.map((answer, index) => card(index, answer.text))),
    el("div", { class: "strengths" },
      el("div", { class: "poles", "aria-hidden": "true" }, el("span", { text: t("pole_left") }), el("span", { text: t("pole_even") }), el("span", { text: t("pole_right") })),
      ...rows.map((row) => row.root))),
    keys: () => keys,
    words: () => ({ "1 … 7": "key_strength", "↑ ↓": "key_move" }),
    next: () => t("submit"),
    focus() { document.activeElement?.blur(); },
    draft: () => ({ choices: Object.fromEntries(rows.map((row) => [row.criterion, row.value()])) }),
    fill(reply) { rows.forEach((row) => row.set(reply.choices?.[row.criterion] ?? null)); },
    reply() {
      if (rows[0].value() === null) {
        toast(t("compare_missing"));
        go(0, true);
        return null;
      }
      return { choices: Object.fromEntries(rows.filter((row) => row.value() !== null).map((row) => [row.criterion, row.value()])) };
    },
  };
}
