// One task on the page: prompt, question, flags, comment, and its draft.

import { post } from "./api.js";
import { dialogue } from "./answers.js";
import { activeClock } from "./clock.js";
import { flagging } from "./extras.js";
import * as keep from "./keep.js";
import { el, pageData, t, tree } from "./page.js";
import { question as compare } from "./question-compare.js";
import { question as panel } from "./question-panel.js";
import { question as plan } from "./question-plan.js";
import { question as rank } from "./question-rank.js";
import { question as steps } from "./question-steps.js";
import { question as write } from "./question-write.js";

const QUESTIONS = { rank, compare, steps, demonstrate: write, edit: write, panel, panel_pair: compare, plan };
const SAVE_AFTER = 800;

/** Build a task's page. `rekey` is called when its keys change; drafts go to the server unless told otherwise. */
export async function task(assignment, rekey, { server = true } = {}) {
  const stored = await keep.take("drafts", draftKey(assignment));
  const draft = stored?.version === assignment.version ? stored : null;
  const clock = activeClock(draft?.seconds ?? 0);
  let timer = 0;
  let gone = false;

  const asked = QUESTIONS[assignment.question](assignment, { changed, rekey });
  const flags = flagging(assignment, changed);
  const comment = el("textarea", { id: "comment", rows: "1", maxlength: "5000", placeholder: t("comment_hint"), dir: "auto", input: changed });
  const root = el("div", { class: "task", "data-question": assignment.question },
    el("section", { class: "prompt", "aria-label": t("prompt_label") }, ...dialogue(assignment.messages)),
    el("section", { class: "question", "aria-label": t(`question_${assignment.question}`) }, asked.root),
    el("section", { class: "extras" }, el("div", { class: "field grow" }, el("label", { for: "comment", text: t("comment") }), comment),
      flags.button), flags.dialog);

  function extras() {
    const marked = flags.flags();
    const said = comment.value.trim();
    return { ...(marked.length ? { flags: marked } : {}), ...(said ? { comment: said } : {}) };
  }
  function fill(reply) {
    asked.fill(reply);
    flags.fill(reply.flags ?? []);
    comment.value = reply.comment ?? "";
  }
  function changed() {
    clearTimeout(timer);
    if (!gone) timer = setTimeout(save, SAVE_AFTER);
  }
  async function save() {
    const reply = { ...asked.draft(), ...extras() };
    await keep.put("drafts", draftKey(assignment), { reply, version: assignment.version, seconds: clock.seconds() });
    if (gone) return forget();
    // The copy on the server follows the person to another machine; that it fails costs nothing here.
    if (server) await post("/api/work/draft", { task: assignment.task, draft: reply }).catch(() => {});
    document.dispatchEvent(new CustomEvent("draft-saved"));
    return undefined;
  }
  function forget() {
    return keep.drop("drafts", draftKey(assignment));
  }

  const known = draft?.reply ?? assignment.draft ?? assignment.reply;
  if (known) fill(known);
  return {
    assignment,
    root,
    asked,
    flags,
    comment,
    instructions: tree(assignment.instructions),
    seconds: clock.seconds,
    /** The finished reply, or null after the page has said what is missing. */
    reply() {
      const made = asked.reply();
      return made && { ...made, ...extras() };
    },
    /** The task is over: nothing more is saved. */
    async end() {
      gone = true;
      clearTimeout(timer);
      clock.stop();
      await forget();
    },
    /** Save at once, for instance because the page is left. */
    flush() { if (!gone) save(); },
    leave() { gone = true; clearTimeout(timer); clock.stop(); },
  };
}

function draftKey(assignment) {
  return `${pageData.name}\n${assignment.task}`;
}
