// Which of several plans to follow, or none of them.

import { el, letter, t, toast } from "./page.js";

export function question(assignment, { changed }) {
  const entries = [...assignment.answers.map((answer, index) => [index, letter(index), answer.text]), [null, "0", t("plan_none")]];
  const inputs = entries.map(([value]) => el("input", { type: "radio", name: "plan", value: String(value), change: changed }));
  const cards = entries.map(([, face, text], at) => el("label", { class: "plan" }, inputs[at],
    el("span", { class: "letter", "aria-hidden": "true", text: face }), el("span", { class: "text", dir: "auto", text })));
  const keys = { 0: () => put(entries.length - 1) };
  assignment.answers.forEach((_, index) => { keys[String(index + 1)] = () => put(index); });

  function put(at) {
    inputs[at].checked = true;
    inputs[at].focus();
    changed();
  }
  const chosen = () => inputs.findIndex((input) => input.checked);
  return {
    root: el("fieldset", { class: "plans" }, el("legend", { text: t("plan_legend") }), ...cards),
    keys: () => keys,
    words: () => ({ "1 … 9": "key_plan", 0: "plan_none" }),
    next: () => t("submit"),
    focus() { document.activeElement?.blur(); },
    // A reply without a plan means none of them, so a draft says -1 where nothing is chosen yet.
    draft: () => ({ plan: chosen() < 0 ? -1 : entries[chosen()][0] }),
    fill(reply) {
      const at = entries.findIndex(([value]) => value === (reply.plan ?? null));
      if (at >= 0) inputs[at].checked = true;
    },
    reply() {
      if (chosen() < 0) {
        toast(t("plan_missing"));
        return null;
      }
      return { plan: entries[chosen()][0] };
    },
  };
}
