// The page where people judge: gets a task, sends the reply, takes it back, opens earlier ones.

import { Refusal, get, post } from "./api.js";
import { askConflict, askSkip } from "./extras.js";
import * as keys from "./keys.js";
import * as outbox from "./outbox.js";
import { duration, el, pageData, say, t, toast } from "./page.js";
import { task as makeTask } from "./task.js";

const place = document.getElementById("task");
const instructions = document.getElementById("instructions");
const submitButton = document.getElementById("submit");
const skipButton = document.getElementById("skip");
const undoButton = document.getElementById("undo");
const bar = document.getElementById("bar");
const saved = document.getElementById("saved");
const earlier = document.getElementById("earlier");

let now = null; // the task on the page
let last = null; // the latest submission of this page, which Z takes back
let busy = false;
let release = () => {};

function rekey() {
  release();
  release = now ? keys.use({
    ...now.asked.keys(),
    Enter: submit,
    "Ctrl+Enter": submit,
    z: undo,
    s: skip,
    f: () => now.flags.open(),
    c: () => now.comment.focus(),
  }, { ...now.asked.words(), Enter: "submit", Z: "undo", S: "skip", F: "flag_button", C: "comment", "?": "keys_title" })
    : keys.use({ z: undo }, { Z: "undo", "?": "keys_title" });
  submitButton.textContent = now ? now.asked.next() : t("submit");
}

async function show(assignment) {
  now?.leave();
  now = await makeTask(assignment, rekey);
  place.replaceChildren(now.root);
  instructions.replaceChildren(...(now.instructions.length ? now.instructions : [el("p", { text: t(`instructions_${assignment.question}`) })]));
  document.getElementById("kind").textContent = t(`question_${assignment.question}`);
  document.getElementById("revising").hidden = !assignment.reply;
  bar.hidden = false;
  rekey();
  scrollTo(0, 0);
  now.asked.focus();
  say(t(`question_${assignment.question}`));
}

function showNothing({ reason, detail }) {
  now?.leave();
  now = null;
  bar.hidden = true;
  instructions.replaceChildren();
  document.getElementById("kind").textContent = "";
  document.getElementById("revising").hidden = true;
  place.replaceChildren(el("div", { class: "nothing" }, el("h2", { text: t(`nothing_${reason}`) }),
    el("p", { text: t(`nothing_${reason}_note`) }), detail && reason !== "empty" ? el("p", { class: "fine", text: detail }) : null,
    el("button", { class: "primary", type: "button", click: next, text: t("look_again") })));
  rekey();
}

async function next() {
  try {
    const given = await get("/api/work/next");
    if (given.assignment) await show(given.assignment);
    else showNothing(given.nothing);
    refresh();
  } catch (problem) {
    unreachable(problem, next);
  }
}

function unreachable(problem, again) {
  if (problem instanceof Refusal && problem.status === 401) {
    location.assign("/enter");
    return;
  }
  if (!now) place.replaceChildren(el("div", { class: "nothing" }, el("h2", { text: t("unreachable") }),
    el("button", { class: "primary", type: "button", click: again, text: t("look_again") })));
  else toast(problem.message, "bad");
}

async function submit() {
  const reply = !busy && now ? now.reply() : null;
  if (!reply) return;
  await send("/api/work/submit", { reply });
}

async function skip() {
  if (busy || !now) return;
  const reason = await askSkip();
  if (reason) await send("/api/work/skip", { reason });
}

async function send(path, content, version = now.assignment.version) {
  const sent = now;
  const body = { task: sent.assignment.task, uuid: crypto.randomUUID(), version, seconds: sent.seconds(), client_ms: Date.now(), ...content };
  setBusy(true);
  try {
    const answer = await outbox.send(path, body);
    await sent.end();
    last = { task: answer.task, version: answer.version };
    say(t("stored"));
    if (now === sent) await next();
  } catch (problem) {
    await refused(problem, path, content, sent);
  } finally {
    setBusy(false);
  }
}

async function refused(problem, path, content, sent) {
  if (problem.status !== 409) {
    toast(problem.message, "bad");
    return;
  }
  if (await askConflict(problem) === "mine" && problem.current) {
    await send(path, content, problem.current.version);
    return;
  }
  await sent.end();
  await next();
}

async function undo() {
  if (busy || !last) return;
  setBusy(true);
  try {
    const given = await post("/api/work/undo", { ...last, uuid: crypto.randomUUID(), client_ms: Date.now() });
    last = null;
    toast(t("undone"));
    await show(given.assignment);
    refresh();
  } catch (problem) {
    unreachable(problem, undo);
  } finally {
    setBusy(false);
  }
}

function setBusy(value) {
  busy = value;
  document.body.classList.toggle("busy", value);
  undoButton.disabled = value || !last;
  submitButton.disabled = value;
}

async function refresh() {
  undoButton.disabled = busy || !last;
  try {
    const mine = await get("/api/work/mine");
    document.getElementById("done-today").textContent = mine.today;
    document.getElementById("left").textContent = mine.left;
    document.getElementById("active").textContent = duration(mine.seconds);
    const meter = document.getElementById("meter");
    meter.max = Math.max(1, mine.answered + mine.left);
    meter.value = mine.answered;
    // The list is asked for only while somebody looks at it.
    if (earlier.open) await showHistory();
  } catch {
    // What stands there stays; the outbox says that the server is away.
  }
}

async function showHistory() {
  const history = await get("/api/work/history");
  document.getElementById("history").replaceChildren(...history.tasks.map(entry));
}

function entry(done) {
  const label = done.question ? t(`question_${done.question}`) : "";
  return el("li", {}, el("button", { class: "entry", type: "button", click: () => revise(done.task) },
    el("span", { class: "entry-title", dir: "auto", text: done.title || done.task }),
    el("span", { class: "fine", text: `${label} · ${t(`state_${done.state}`)} · ${new Date(done.server_ms).toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" })}` })));
}

async function revise(task) {
  try {
    const given = await get(`/api/work/task?task=${encodeURIComponent(task)}`);
    now?.flush();
    await show(given.assignment);
  } catch (problem) {
    unreachable(problem, () => revise(task));
  }
}

earlier.addEventListener("toggle", refresh);
submitButton.addEventListener("click", submit);
skipButton.addEventListener("click", skip);
undoButton.addEventListener("click", undo);
document.getElementById("help").addEventListener("click", keys.help);
document.getElementById("stop-revising").addEventListener("click", next);
document.addEventListener("draft-saved", () => { saved.textContent = t("draft_saved"); setTimeout(() => { saved.textContent = ""; }, 2000); });
document.addEventListener("outbox-sent", () => { toast(t("sent_late"), "good"); next(); });
document.addEventListener("outbox-refused", ({ detail }) => toast(`${t("refused_late")} ${detail.problem.message}`, "bad"));
addEventListener("pagehide", () => now?.flush());
keys.use({ "?": keys.help });
outbox.watch((number) => {
  const banner = document.getElementById("waiting");
  // A submission that takes no longer than usual is no news.
  clearTimeout(banner.timer);
  if (number) banner.timer = setTimeout(() => { banner.hidden = false; }, 700);
  else banner.hidden = true;
  document.getElementById("waiting-number").textContent = t("waiting", { number });
});
document.getElementById("send-now").addEventListener("click", outbox.flush);

if (matchMedia("(max-width: 60rem)").matches) document.querySelector(".side details").open = false;

// A reply that a reload interrupted is sent before anything new is asked for.
await outbox.flush();
await next();
document.body.dataset.ready = pageData.name;
