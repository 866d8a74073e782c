// A panel's marks: what stories are written from, rated on each criterion.

import { t, toast } from "./page.js";
import { ratings } from "./ratings.js";

export function question(assignment, { changed }) {
  const marks = ratings(assignment, changed);
  return {
    root: marks.root,
    keys: () => marks.keys,
    words: () => marks.words,
    next: () => t("submit"),
    focus: marks.focus,
    draft: () => ({ ratings: marks.ratings() }),
    fill(reply) { marks.fill(reply.ratings); },
    reply() {
      const missing = marks.missing();
      if (missing) {
        toast(t("rate_missing", { missing }));
        marks.toMissing();
        return null;
      }
      return { ratings: marks.ratings() };
    },
  };
}
