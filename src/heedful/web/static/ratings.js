// Marks from 1 to 7: every answer on every criterion. Digits mark and go on to the next.

import { card, criterionName } from "./answers.js";
import { el, known, letter, t } from "./page.js";
import { marks } from "./scale.js";

/**
 * Rate `answers` on `criteria`. Returns {root, ratings(), fill(ratings), missing(), cells, keys, words}.
 */
export function ratings(assignment, changed) {
  const titles = { 1: t("mark_worst"), 7: t("mark_best") };
  const cells = [];
  let current = 0;

  const cards = assignment.answers.map((answer, index) => card(index, answer.text,
    el("div", { class: "scales" }, ...assignment.criteria.map((criterion) => {
      const at = cells.length;
      const legend = criterionName(criterion, known);
      const made = marks(legend, () => { go(at); changed(); }, titles);
      made.root.setAttribute("aria-label", t("rate_label", { criterion: legend, letter: letter(index) }));
      cells.push({ ...made, criterion, index });
      return made.root;
    }))));

  function go(to, focus = false) {
    cells[current].mark(false);
    current = Math.max(0, Math.min(cells.length - 1, to));
    cells[current].mark(true);
    if (focus) {
      cells[current].focus();
      cells[current].root.closest("article").scrollIntoView({ block: "nearest" });
    }
  }
  function put(value) {
    cells[current].set(value);
    changed();
    if (current < cells.length - 1) go(current + 1, true);
    else cells[current].focus();
  }
  cells.forEach((cell, at) => cell.root.addEventListener("focusin", () => go(at)));
  go(0);

  const keys = { ArrowUp: () => go(current - 1, true), ArrowDown: () => go(current + 1, true) };
  for (let value = 1; value <= 7; value++) keys[String(value)] = () => put(value);
  return {
    root: el("div", { class: `answers of-${Math.min(assignment.answers.length, 3)}` }, ...cards),
    keys,
    words: { "1 … 7": "key_mark", "↑ ↓": "key_move" },
    focus() { go(0, true); },
    ratings() {
      return Object.fromEntries(assignment.criteria.map((criterion) => [criterion,
        cells.filter((cell) => cell.criterion === criterion).map((cell) => cell.value())]));
    },
    fill(given) {
      cells.forEach((cell) => cell.set(given?.[cell.criterion]?.[cell.index] ?? null));
    },
    missing() {
      return cells.filter((cell) => cell.value() === null).length;
    },
    toMissing() {
      go(cells.findIndex((cell) => cell.value() === null), true);
    },
  };
}
