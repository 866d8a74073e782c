// Writing: a demonstration from nothing, or an answer edited into a better one.

import { card } from "./answers.js";
import { el, t, toast } from "./page.js";

export function question(assignment, { changed }) {
  const edits = assignment.question === "edit";
  const start = edits ? assignment.answers[0].text : "";
  const count = el("p", { class: "fine", "aria-live": "off" });
  const field = el("textarea", { class: "page", id: "writing", rows: "14", maxlength: "200000", spellcheck: "true", dir: "auto",
    input: () => { tell(); changed(); } });
  field.value = start;
  const words = () => (field.value.match(/[\p{Script=Han}]|[\p{L}\p{N}'’]+/gu) ?? []).filter(Boolean).length;
  function tell() { count.textContent = t("write_count", { words: words() }); }
  tell();
  const writing = el("div", { class: "field" },
    el("label", { for: "writing", text: t(edits ? "write_edit" : "write_new") }), field, count);
  const root = edits ? el("div", { class: "answers of-2" }, card(0, start), writing) : writing;
  return {
    root,
    keys: () => ({ e: () => field.focus() }),
    words: () => ({ E: "key_write", "Ctrl+Enter": "key_submit_text", Esc: "key_leave_text" }),
    next: () => t("submit"),
    focus() { field.focus(); if (!edits) field.setSelectionRange(field.value.length, field.value.length); },
    draft: () => ({ text: field.value }),
    fill(reply) { field.value = reply.text ?? start; tell(); },
    reply() {
      if (!field.value.trim() || field.value === start) {
        toast(t(edits ? "write_same" : "write_nothing"));
        field.focus();
        return null;
      }
      return { text: field.value };
    },
  };
}
