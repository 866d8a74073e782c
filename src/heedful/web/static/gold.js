// A researcher's own answer to a task, with the same questions and keys as annotators have.

import { post } from "./api.js";
import * as keys from "./keys.js";
import { pageData, toast } from "./page.js";
import { task as makeTask } from "./task.js";

const button = document.getElementById("submit");
let release = () => {};
let task = null;

function rekey() {
  release();
  if (!task) return;
  release = keys.use({ ...task.asked.keys(), Enter: submit, "Ctrl+Enter": submit, f: () => task.flags.open() },
    { ...task.asked.words(), Enter: "submit", "?": "keys_title" });
  button.textContent = task.asked.next();
}

async function submit() {
  const reply = task.reply();
  if (!reply) return;
  try {
    await post("/api/gold", { task: task.assignment.task, uuid: crypto.randomUUID(), reply });
    await task.end();
    history.back();
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

task = await makeTask(pageData.assignment, rekey, { server: false });
document.getElementById("task").replaceChildren(task.root);
rekey();
task.asked.focus();
keys.use({ "?": keys.help });
button.addEventListener("click", submit);
