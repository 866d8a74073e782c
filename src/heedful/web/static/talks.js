// What was said in conversations, one after another: accept or refuse.

import { post } from "./api.js";
import * as keys from "./keys.js";
import { el, pageData, t, toast } from "./page.js";

const at = (id) => document.getElementById(id);
const waiting = [...pageData.waiting];

function verdict(one) {
  if (one.kind === "rating") return t("talks_rating", { value: one.value });
  if (one.value === 0) return t("talks_same");
  return t(one.value > 0 ? "talks_first" : "talks_second", { value: Math.abs(one.value) });
}

function show() {
  at("nothing").hidden = waiting.length > 0;
  at("waiting").replaceChildren(...waiting.slice(0, 20).map((one, n) => el("article", { class: `box${n ? "" : " now"}`, "data-id": one.id },
    el("p", { class: "fine" }, el("bdi", { text: one.person }), " · ", verdict(one)),
    ...one.messages.map((m) => el("p", {}, el("b", { text: `${t(`role_${m.role}`)}: ` }), el("span", { class: "said-text", text: m.content }))),
    el("div", { class: "pair" }, ...one.answers.map((a) => el("div", { class: "written" },
      el("p", { class: "fine" }, el("bdi", { text: a.model })), el("div", { class: "text", dir: "auto", text: a.text })))),
    el("div", { class: "row end" },
      el("button", { class: "quiet", type: "button", click: () => decide(one, "refused"), text: t("talks_refuse") }),
      el("button", { class: "primary", type: "button", click: () => decide(one, "accepted"), text: t("talks_accept") })))));
}

async function decide(one, state) {
  try {
    await post("/api/talks", { id: one.id, state });
  } catch (problem) {
    toast(problem.message, "bad");
    return;
  }
  waiting.splice(waiting.indexOf(one), 1);
  for (const [name, by] of [["new", -1], [state, 1]]) at(`count-${name}`).textContent = Number(at(`count-${name}`).textContent) + by;
  show();
}

keys.use({ a: () => waiting[0] && decide(waiting[0], "accepted"), r: () => waiting[0] && decide(waiting[0], "refused"), "?": () => keys.help() },
  { A: "talks_key_accept", R: "talks_key_refuse" });
show();
