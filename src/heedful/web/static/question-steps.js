// Labels for the steps of a solution: good, neutral, bad; it ends at the first error, where a better step may be written.

import { el, t, toast } from "./page.js";
import { scale } from "./scale.js";

const LABELS = [1, 0, -1];
const TONES = { 1: "good", 0: "even", [-1]: "bad" };

export function question(assignment, { changed }) {
  const steps = assignment.answers[0].steps;
  const options = LABELS.map((value) => ({ value, label: t(`step_${value}`), tone: TONES[value] }));
  let current = 0;
  let ending = null; // "give_up" or "bad_problem", if the person ends it so
  const rows = steps.map((text, at) => {
    const choice = scale(t("step_name", { number: at + 1 }), options, () => { go(at); settle(); }, { look: "inline" });
    const root = el("li", { class: "step" }, el("p", { class: "text", dir: "auto", text }), choice.root);
    return { ...choice, root, choice };
  });
  rows.forEach((row, at) => row.root.addEventListener("focusin", () => go(at)));

  const alternative = el("textarea", { rows: "3", maxlength: "20000", id: "alternative", input: changed });
  const better = el("div", { class: "field", hidden: true },
    el("label", { for: "alternative", text: t("step_alternative") }), alternative);
  const end = (reason) => el("button", { class: "quiet", type: "button", "aria-pressed": "false", text: t(`finish_${reason}`),
    click: () => finish(reason) });
  const ends = { give_up: end("give_up"), bad_problem: end("bad_problem") };
  const root = el("div", {}, el("ol", { class: "steps" }, ...rows.map((row) => row.root)), better,
    el("div", { class: "row" }, ...Object.values(ends)));

  const wrong = () => rows.findIndex((row) => row.choice.value() === -1);
  const unlabelled = () => rows.findIndex((row) => row.choice.value() === null);

  function finish(reason) {
    ending = ending === reason ? null : reason;
    settle();
  }
  function settle() {
    const error = wrong();
    rows.forEach((row, at) => {
      const beyond = error >= 0 && at > error;
      row.choice.disable(beyond);
      row.root.classList.toggle("beyond", beyond);
      if (beyond) row.choice.set(null);
    });
    better.hidden = error < 0;
    Object.entries(ends).forEach(([reason, button]) => button.setAttribute("aria-pressed", String(ending === reason)));
    changed();
  }
  function go(to, focus = false) {
    rows[current].root.classList.remove("current");
    current = Math.max(0, Math.min(rows.length - 1, to));
    rows[current].root.classList.add("current");
    if (focus) {
      rows[current].choice.focus();
      rows[current].root.scrollIntoView({ block: "nearest" });
    }
  }
  function put(value) {
    rows[current].choice.set(value);
    settle();
    if (value !== -1 && current < rows.length - 1) go(current + 1, true);
    else rows[current].choice.focus();
  }
  go(0);

  function read() {
    const error = wrong();
    const labels = rows.slice(0, error < 0 ? rows.length : error + 1).map((row) => row.choice.value());
    const written = alternative.value.trim();
    const made = error >= 0 && written ? [{ step: error, text: written, rating: 1, chosen: true }] : [];
    return { labels, error, alternatives: made };
  }
  return {
    root,
    keys: () => ({
      1: () => put(1), 2: () => put(0), 3: () => put(-1),
      ArrowUp: () => go(current - 1, true), ArrowDown: () => go(current + 1, true),
      a: () => { if (better.hidden) return false; alternative.focus(); return true; },
      g: () => finish("give_up"), b: () => finish("bad_problem"),
    }),
    words: () => ({ "1 2 3": "key_step", "↑ ↓": "key_move", A: "step_alternative", G: "finish_give_up", B: "finish_bad_problem" }),
    next: () => t("submit"),
    focus() { go(0, true); },
    draft() {
      const { labels, alternatives } = read();
      return { steps: labels, finish_reason: ending, alternatives };
    },
    fill(reply) {
      rows.forEach((row, at) => row.choice.set(reply.steps?.[at] ?? null));
      alternative.value = reply.alternatives?.[0]?.text ?? "";
      ending = reply.finish_reason in ends ? reply.finish_reason : null;
      settle();
    },
    reply() {
      const { labels, error, alternatives } = read();
      const until = labels.indexOf(null);
      if (until >= 0 && ending === null) {
        toast(t("step_missing"));
        go(unlabelled(), true);
        return null;
      }
      const given = until < 0 ? labels : labels.slice(0, until);
      const reason = error >= 0 ? "found_error" : until < 0 && ending === null ? "solution" : ending;
      return { steps: given, finish_reason: reason, ...(alternatives.length ? { alternatives } : {}) };
    },
  };
}
