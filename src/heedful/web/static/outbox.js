// Submissions are written down here before they are sent, and leave only when the server has answered: they survive a
// reload, a closed tab and a dead server. Every one has a UUID, so that sending it twice stores it once.

import { Refusal, post } from "./api.js";
import * as keep from "./keep.js";
import { pageData } from "./page.js";

const LONGEST = 30_000;
const waiting = new Map();
const watchers = new Set();
let pause = 1000;
let timer = 0;

/** Call `watcher(number)` now and whenever the number of unsent submissions changes. */
export async function watch(watcher) {
  watchers.add(watcher);
  watcher((await mine()).length);
}

/**
 * Keep a submission and send it. The promise is kept when the server has answered, however long that takes: it
 * resolves to the answer or rejects with the Refusal.
 */
export async function send(path, body) {
  const entry = { path, body, account: pageData.name, made: Date.now() };
  await keep.put("outbox", body.uuid, entry);
  const done = new Promise((resolve, reject) => waiting.set(body.uuid, { resolve, reject }));
  flush();
  return done;
}

/** Try to send all that waits; what cannot be sent now is tried again by itself. */
export function flush() {
  clearTimeout(timer);
  return navigator.locks.request("heedful-outbox", sendAll);
}

async function sendAll() {
  const entries = (await mine()).sort((a, b) => a.made - b.made);
  await tell();
  for (const entry of entries) {
    try {
      settle(entry, "resolve", await post(entry.path, entry.body));
    } catch (problem) {
      const refused = problem instanceof Refusal && problem.status !== 401 && problem.code !== "forged";
      if (!refused) {
        clearTimeout(timer);
        timer = setTimeout(flush, pause);
        pause = Math.min(pause * 2, LONGEST);
        return;
      }
      settle(entry, "reject", problem);
    }
    pause = 1000;
    await keep.drop("outbox", entry.body.uuid);
    await tell();
  }
}

function settle(entry, how, value) {
  const promise = waiting.get(entry.body.uuid);
  waiting.delete(entry.body.uuid);
  if (promise) promise[how](value);
  else if (how === "reject") document.dispatchEvent(new CustomEvent("outbox-refused", { detail: { entry, problem: value } }));
  else document.dispatchEvent(new CustomEvent("outbox-sent", { detail: { entry, answer: value } }));
}

async function mine() {
  return (await keep.all("outbox")).filter((entry) => entry.account === pageData.name);
}

async function tell() {
  const number = (await mine()).length;
  watchers.forEach((watcher) => watcher(number));
}

addEventListener("online", flush);
document.addEventListener("visibilitychange", () => { if (!document.hidden) flush(); });
