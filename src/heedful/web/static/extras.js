// What belongs to every question: flags, a comment, and skipping with a reason.

import { el, letter, t } from "./page.js";

const SKIPS = ["unsure", "knowledge", "language", "distressing"];

/** Flags on the prompt and on each answer. Returns {button, open(), flags(), fill(flags)}. */
export function flagging(assignment, changed) {
  const places = [null, ...assignment.answers.keys()];
  const boxes = [];
  const name = (place) => (place === null ? t("flag_prompt") : t("answer_name", { letter: letter(place) }));
  const rows = places.map((place) => el("fieldset", { class: "flags" }, el("legend", { text: name(place) }),
    ...assignment.flags.map((label) => {
      const box = el("input", { type: "checkbox", change: () => { tell(); changed(); } });
      boxes.push({ box, place, label });
      return el("label", { class: "tick" }, box, el("span", { text: flagName(label) }));
    })));
  const note = el("input", { type: "text", id: "flag-comment", maxlength: "2000", autocomplete: "off", input: changed });
  const dialog = el("dialog", { "aria-labelledby": "flag-title" }, el("h2", { id: "flag-title", text: t("flag_title") }), ...rows,
    el("div", { class: "field" }, el("label", { for: "flag-comment", text: t("flag_comment") }), note),
    el("div", { class: "row end" }, el("button", { class: "primary", type: "button", click: () => dialog.close(), text: t("done") })));
  note.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.isComposing) dialog.close(); });
  const count = el("span", { class: "count" });
  const button = el("button", { class: "quiet", type: "button", click: () => dialog.showModal() }, t("flag_button"), " ", count);

  function tell() {
    const number = boxes.filter(({ box }) => box.checked).length;
    count.textContent = number ? String(number) : "";
    button.classList.toggle("on", number > 0);
  }
  return {
    button,
    dialog,
    open: () => dialog.showModal(),
    flags: () => boxes.filter(({ box }) => box.checked).map(({ place, label }) => ({ label, answer: place, comment: note.value })),
    fill(flags) {
      boxes.forEach(({ box, place, label }) => {
        box.checked = flags.some((flag) => flag.label === label && (flag.answer ?? null) === place);
      });
      note.value = flags.find((flag) => flag.comment)?.comment ?? "";
      tell();
    },
  };
}

function flagName(label) {
  const key = `flag_${label.replaceAll(" ", "_")}`;
  const said = t(key);
  return said === key ? label : said;
}

/** Ask why a task is skipped; resolves to the reason, or to null if the person changed their mind. */
export function askSkip() {
  return new Promise((resolve) => {
    const other = el("input", { type: "text", id: "skip-other", maxlength: "2000", autocomplete: "off" });
    const radios = SKIPS.map((reason, index) => el("input", { type: "radio", name: "skip", value: reason, checked: index === 0 }));
    const choices = SKIPS.map((reason, index) => el("label", { class: "tick" }, radios[index],
      el("span", { text: `${index + 1}  ${t(`skip_${reason}`)}` })));
    const form = el("form", { method: "dialog" }, el("h2", { text: t("skip_title") }), ...choices,
      el("div", { class: "field" }, el("label", { for: "skip-other", text: t("skip_other") }), other),
      el("div", { class: "row end" },
        el("button", { class: "quiet", type: "button", click: () => dialog.close(""), text: t("cancel") }),
        el("button", { class: "primary", value: "skip", text: t("skip_do") })));
    const dialog = el("dialog", { "aria-label": t("skip_title") }, form);
    dialog.addEventListener("keydown", (event) => {
      if (event.target === other) return;
      const index = Number(event.key) - 1;
      if (radios[index]) {
        radios[index].checked = true;
        radios[index].focus();
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      const chosen = radios.find((radio) => radio.checked);
      resolve(dialog.returnValue === "skip" ? other.value.trim() || chosen.value : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    radios[0].focus();
  });
}

/** Ask what to do with a reply that no longer fits: "mine" or "theirs". */
export function askConflict(problem) {
  return new Promise((resolve) => {
    const stale = problem.code === "stale";
    const dialog = el("dialog", { "aria-labelledby": "conflict-title" },
      el("h2", { id: "conflict-title", text: t("conflict_title") }), el("p", { text: t(`conflict_${problem.code}`) }),
      el("div", { class: "row end" },
        el("button", { class: stale ? "quiet" : "primary", type: "button", click: () => dialog.close("theirs"),
          text: t(stale ? "conflict_theirs" : "conflict_on") }),
        stale ? el("button", { class: "primary", type: "button", click: () => dialog.close("mine"), text: t("conflict_mine") }) : null));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "mine" ? "mine" : "theirs"); });
    document.body.append(dialog);
    dialog.showModal();
  });
}
