// InstructGPT's page: marks for every answer on every criterion, then an order that the marks suggest.

import * as order from "./order.js";
import { el, t, toast } from "./page.js";
import { ranking } from "./ranking.js";
import { ratings } from "./ratings.js";

export function question(assignment, { changed, rekey }) {
  const marks = ratings(assignment, () => { sorted = false; changed(); });
  const list = ranking(assignment, changed);
  let stage = assignment.criteria.length ? "rate" : "order";
  let sorted = false; // whether the list already follows these marks, or the person has touched it since

  const back = el("button", { class: "quiet", type: "button", click: () => show("rate"), text: t("rank_back") });
  const first = el("section", {}, el("h2", { text: t("rank_rate") }), marks.root);
  const second = el("section", {}, el("div", { class: "row" }, el("h2", { text: t("rank_order") }), back),
    el("p", { class: "fine", text: t("rank_note") }), list.root);
  const root = el("div", {}, first, second);

  function show(wanted) {
    stage = wanted;
    first.hidden = stage !== "rate";
    second.hidden = stage !== "order";
    if (stage === "order" && !sorted) {
      list.set(order.presorted(marks.ratings(), assignment.answers.length));
      sorted = true;
    }
    rekey();
    (stage === "rate" ? marks : list).focus();
    changed();
  }

  first.hidden = stage !== "rate";
  second.hidden = stage !== "order";
  back.hidden = !assignment.criteria.length;
  return {
    root,
    keys: () => (stage === "rate" ? marks.keys : { ...list.keys, r: () => show("rate") }),
    words: () => (stage === "rate" ? marks.words : { ...list.words, R: "rank_back" }),
    next: () => t(stage === "rate" ? "rank_next" : "submit"),
    focus() { (stage === "rate" ? marks : list).focus(); },
    /** What stands on the page, finished or not. */
    draft() {
      return { ratings: marks.ratings(), order: stage === "order" ? list.tiers() : null };
    },
    fill(reply) {
      marks.fill(reply.ratings);
      if (reply.order) {
        list.set(reply.order);
        sorted = true;
        show("order");
      }
    },
    /** The finished reply, or null after showing what is missing. */
    reply() {
      const missing = marks.missing();
      const none = missing === assignment.answers.length * assignment.criteria.length;
      if (stage === "rate") {
        if (missing && !none) {
          toast(t("rate_missing", { missing }));
          marks.toMissing();
        } else {
          show("order");
        }
        return null;
      }
      return { ...(none ? {} : { ratings: marks.ratings() }), order: list.tiers() };
    },
  };
}
