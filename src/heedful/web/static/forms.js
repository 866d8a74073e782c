// Forms without a script of their own: `data-api="POST /api/x"` sends the fields as JSON.
//
// Fields: data-kind="number" sends a number (nothing, if empty), "flag" a checkbox as true or false, "lines" a list of
// lines, "list" a list of comma-separated words; a dot in a name makes an object ("settings.overlap"). The answer's
// "to" is where to go next; without it `data-then="reload"` loads the page anew, and else a message says that it worked.

import { call } from "./api.js";
import { pageData, t, toast } from "./page.js";

function read(field) {
  const { kind } = field.dataset;
  if (kind === "flag") return field.checked;
  if (kind === "number") return field.value === "" ? undefined : Number(field.value);
  if (kind === "lines") return field.value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (kind === "list") return field.value.split(/[,，、]/).map((word) => word.trim()).filter(Boolean);
  return field.value;
}

/** The JSON of a form's fields. */
export function values(form) {
  const found = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.type === "radio" && !field.checked) continue;
    const value = read(field);
    if (value === undefined) continue;
    const path = field.name.split(".");
    const leaf = path.slice(0, -1).reduce((within, part) => (within[part] ??= {}), found);
    leaf[path.at(-1)] = value;
  }
  return found;
}

async function submit(event) {
  event.preventDefault();
  const form = event.currentTarget;
  if (form.dataset.confirm && !confirm(form.dataset.confirm)) return;
  const [method, path] = form.dataset.api.split(" ");
  const problem = form.querySelector(".problem");
  const buttons = form.querySelectorAll("button");
  buttons.forEach((button) => { button.disabled = true; });
  if (problem) problem.textContent = "";
  try {
    const extra = form.dataset.with ? { [form.dataset.with]: pageData[form.dataset.with] } : {};
    const file = form.querySelector("input[type=file]");
    const answer = file ? await upload(path, form, file.files[0]) : await call(method, path, { ...values(form), ...extra });
    form.dispatchEvent(new CustomEvent("answered", { detail: answer, bubbles: true }));
    if (answer.to) location.assign(answer.to);
    else if (form.dataset.then === "reload") location.reload();
    else toast(answer.message ?? t("saved"), "good");
  } catch (trouble) {
    if (problem) problem.textContent = trouble.message;
    else toast(trouble.message, "bad");
  } finally {
    buttons.forEach((button) => { button.disabled = false; });
  }
}

function upload(path, form, file) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values(form))) if (name !== "file") query.set(name, value);
  query.set("name", file.name);
  return call("POST", `${path}?${query}`, new Blob([file]));
}

/** Make every form of the page with `data-api` send JSON. */
export function forms(within = document) {
  within.querySelectorAll("form[data-api]").forEach((form) => form.addEventListener("submit", submit));
}
