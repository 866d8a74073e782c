// Talking to a model. Answers stream in as text; nothing that a model writes is ever read as HTML.

import { get } from "./api.js";
import { drawn, stream } from "./chat-stream.js";
import * as keys from "./keys.js";
import { send } from "./outbox.js";
import { el, pageData, say as announce, t, toast } from "./page.js";

const at = (id) => document.getElementById(id);
const BLIND = "\u0000blind";
let turns = []; // {said} of the person, {sides: [{text, seal, model, ...}], chosen, sampling, messages}
let writing = null;

/** The conversation as the model is sent it, up to turn `end`. */
function messages(end = turns.length) {
  const system = at("system").value.trim();
  const found = system ? [{ role: "system", content: system }] : [];
  for (const turn of turns.slice(0, end)) {
    if ("said" in turn) found.push({ role: "user", content: turn.said });
    else found.push({ role: "assistant", content: turn.sides[turn.chosen ?? 0].text });
  }
  return found;
}

async function write(more = false) {
  const asked = messages();
  const [model, other] = [at("model").value, at("other").value];
  const before = more ? more.sides.filter((side) => side.seal) : [];
  const turn = { sides: [], sampling: drawn(), messages: asked, chosen: null, value: null };
  const body = { messages: asked, sampling: turn.sampling };
  if (before.length) body.models = [more.model ?? model];
  else if (other === BLIND) body.blind = true;
  else body.models = other ? [model, other] : [model];
  const count = body.blind ? 2 : body.models.length;
  turn.model = body.models?.[0];
  turn.sides = [...before.slice(0, 1), ...Array.from({ length: count }, () => ({ text: "", open: true }))];
  turns.push(turn);
  const offset = turn.sides.length - count;
  show();
  writing = new AbortController();
  busy(true);
  try {
    await stream(body, writing.signal, (event) => {
      const side = turn.sides[offset + event.side];
      if (event.text) side.text += event.text;
      if ("error" in event) Object.assign(side, { open: false, trouble: event.error || t("chat_trouble") });
      if ("end" in event) Object.assign(side, { open: false, end: event.end, seal: event.seal, model: event.model, sampling: turn.sampling });
      renew(turn, offset + event.side);
    });
  } catch (problem) {
    if (problem.name !== "AbortError") toast(problem.message, "bad");
    for (const side of turn.sides) {
      if (side.open) side.trouble = problem.name === "AbortError" ? t("chat_stopped") : problem.message;
    }
  }
  for (const side of turn.sides) side.open = false;
  if (turn.sides.every((side) => !side.text && side.trouble)) turn.failed = true;
  writing = null;
  busy(false);
  show();
  announce(turn.sides.map((side) => side.text).join(" / "));
}

function busy(is) {
  at("stop").hidden = !is;
  at("send").disabled = is;
}

function speak() {
  const text = at("text").value.trim();
  if (!text || writing || !pageData.model) return;
  const last = turns.at(-1);
  if (last?.sides && last.sides.length > 1 && last.chosen === null) last.chosen = 0;
  if (last && "said" in last) turns.pop();
  turns.push({ said: text });
  at("text").value = "";
  write();
}

function edit(number) {
  if (writing) return;
  at("text").value = turns[number].said;
  turns = turns.slice(0, number);
  show();
  at("text").focus();
}

/** Another answer to the last message: beside the old one, to be compared, where that was finished. */
function again() {
  if (writing || !turns.at(-1)?.sides) return;
  const old = turns.pop();
  const kept = old.sides[old.chosen ?? 0];
  write(kept.seal ? { sides: [kept], model: kept.model ?? old.model } : false);
}

async function judge(turn, kind, value, which = null) {
  const sides = which === null ? turn.sides : [turn.sides[which]];
  if (sides.some((side) => !side.seal)) return;
  if (kind === "rating") sides[0].value = value;
  else {
    turn.value = value;
    turn.chosen = value < 0 ? 1 : 0;
  }
  show();
  const answers = sides.map((side) => ({ text: side.text, seal: side.seal, sampling: side.sampling }));
  try {
    const told = await send("/api/chat/judge", { uuid: crypto.randomUUID(), kind, messages: turn.messages, answers, value });
    sides.forEach((side, n) => { side.model = told.models[n]; });
    toast(t("chat_thanks", { models: told.models.join(", ") }), "good");
    show();
    board();
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

function show() {
  const bottom = innerHeight + scrollY >= document.body.scrollHeight - 80;
  at("talk").replaceChildren(...turns.map((turn, n) => "said" in turn ? mine(turn, n) : theirs(turn, n)));
  if (bottom) scrollTo(0, document.body.scrollHeight);
}

function mine(turn, number) {
  return el("li", {}, el("div", { class: "said", text: turn.said }),
    el("div", { class: "row" }, el("button", { class: "quiet small", type: "button", click: () => edit(number), text: t("chat_edit") })));
}

function theirs(turn, number) {
  const last = number === turns.length - 1;
  const cards = turn.sides.map((side, n) => card(turn, side, n));
  const extra = turn.sides.length > 1 && turn.sides.every((side) => side.seal) ? compare(turn) : null;
  const renewed = last && !writing ? el("button", { class: "quiet small", type: "button", click: again, text: t("chat_again") }) : null;
  return el("li", {}, el("div", { class: "pair" }, ...cards), extra, el("div", { class: "row" }, renewed));
}

function card(turn, side, number) {
  const made = el("article", { class: `written${side.open ? " writing" : ""}`, "aria-busy": side.open ? "true" : "false" },
    side.model ? el("p", { class: "fine" }, el("bdi", { text: side.model })) : null,
    el("div", { class: "text", dir: "auto", text: side.text }),
    side.end === "length" ? el("p", { class: "fine", text: t("chat_cut") }) : null,
    side.trouble ? el("p", { class: "trouble", text: side.trouble }) : null,
    side.seal ? marks(turn, side, number) : null);
  side.place = made;
  return made;
}

function renew(turn, number) {
  const side = turn.sides[number];
  if (side.open && side.place?.isConnected) side.place.querySelector(".text").textContent = side.text;
  else show();
}

function marks(turn, side, number) {
  const mark = (value, text, label) => el("button", { type: "button", class: "quiet", "aria-pressed": String(side.value === value),
    "aria-label": label, title: label, click: () => judge(turn, "rating", value, number), text });
  return el("div", { class: "judge", role: "group", "aria-label": t("chat_rate") },
    mark(6, "↑", t("chat_good")), mark(2, "↓", t("chat_poor")),
    ...[1, 2, 3, 4, 5, 6, 7].map((value) => mark(value, String(value), `${t("chat_rate")}: ${value}`)));
}

function compare(turn) {
  const choice = (value, text) => el("button", { type: "button", "aria-pressed": String(turn.value === value),
    click: () => judge(turn, "comparison", value), text });
  return el("div", { class: "judge", role: "group", "aria-label": t("chat_better") }, el("span", { text: t("chat_better") }),
    choice(2, t("chat_left")), choice(0, t("chat_even")), choice(-2, t("chat_right")));
}

async function board() {
  const { rows } = await get("/api/arena");
  const cells = (tag, values) => el("tr", {}, ...values.map((value) => el(tag, {}, el("bdi", { text: String(value) }))));
  at("board").replaceChildren(rows.length ? el("table", {},
    el("thead", {}, cells("th", [t("chat_model"), t("chat_points"), t("chat_games")])),
    el("tbody", {}, ...rows.map((r) => cells("td", [r.model, r.points === null ? "–" : `${r.points} [${r.low}, ${r.high}]`, r.games]))))
    : el("p", { class: "nothing", text: t("chat_no_games") }));
}

function save(name, kind, content) {
  const address = URL.createObjectURL(new Blob([content], { type: kind }));
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function exported() {
  const told = turns.map((turn) => "said" in turn ? { role: "user", content: turn.said } : {
    role: "assistant", content: turn.sides[turn.chosen ?? 0].text,
    answers: turn.sides.map(({ text, model, value, end }) => ({ text, model: model ?? null, rating: value ?? null, end: end ?? null })),
    preference: turn.value, sampling: turn.sampling });
  return JSON.stringify({ system: at("system").value, messages: told }, null, 1);
}

function asMarkdown() {
  return messages().map((m) => `**${m.role}**\n\n${m.content}\n`).join("\n---\n\n");
}

async function load() {
  if (!pageData.model) return trouble(t("problem_no_model"));
  try {
    const { models } = await get("/api/chat/models");
    const option = (value, text) => el("option", { value, text });
    at("model").replaceChildren(...models.map((name) => option(name, name)));
    at("other").replaceChildren(option("", t("chat_none")), ...models.map((name) => option(name, name)),
      ...(models.length > 1 ? [option(BLIND, t("chat_blind"))] : []));
    at("state").hidden = true;
    document.body.dataset.ready = "";
    board();
  } catch (problem) {
    trouble(problem.message);
    setTimeout(load, 2000);
  }
}

function trouble(text) {
  at("state").hidden = false;
  at("state").textContent = text;
}

at("say").addEventListener("submit", (event) => { event.preventDefault(); speak(); });
at("stop").addEventListener("click", () => writing?.abort());
at("fresh").addEventListener("click", () => { writing?.abort(); turns = []; show(); at("text").focus(); });
at("export").addEventListener("click", () => save("conversation.json", "application/json", exported()));
at("export-text").addEventListener("click", () => save("conversation.md", "text/markdown", asMarkdown()));
at("help").addEventListener("click", () => keys.help());
for (const name of ["temperature", "top_p"]) {
  at(name).addEventListener("input", () => { at(`${name}-value`).textContent = at(name).value; });
}
const lastTurn = () => turns.at(-1)?.sides && !writing ? turns.at(-1) : null;
const rated = (value) => { const turn = lastTurn(); return turn && turn.sides.length === 1 ? judge(turn, "rating", value, 0) : false; };
const sided = (value) => { const turn = lastTurn(); return turn && turn.sides.length > 1 ? judge(turn, "comparison", value) : false; };
keys.use({
  "Ctrl+Enter": speak, i: () => at("text").focus(), Escape: () => writing?.abort(), r: again,
  e: () => { const n = turns.findLastIndex((turn) => "said" in turn); if (n >= 0) edit(n); },
  "?": () => keys.help(), ArrowLeft: () => sided(2), ArrowDown: () => sided(0), ArrowRight: () => sided(-2),
  ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7].map((value) => [String(value), () => rated(value)])),
}, { I: "chat_key_say", "Ctrl+Enter": "chat_key_send", Esc: "chat_key_stop", R: "chat_key_again", E: "chat_key_edit",
  "1 … 7": "chat_key_rate", "← ↓ →": "chat_key_sides" });
addEventListener("keydown", (event) => { if (event.key === "Escape") writing?.abort(); });
load();
