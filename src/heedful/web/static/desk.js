// The writer's desk: the story as it reads, its panel, plans to choose from, and passages that appear as they are written.

import { Refusal, post } from "./api.js";
import { forms } from "./forms.js";
import * as keys from "./keys.js";
import { csrf, el, pageData, say, t, toast } from "./page.js";

const at = (id) => document.getElementById(id);
let now = pageData?.state ?? null;
let offered = [];
let busy = false;
let unheld = false;

function lines(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

/** A passage with what speaks against the panel marked (offsets count characters as Python does), and its note. */
function passage(turn, fresh) {
  const characters = [...turn.passage];
  const parts = [];
  let from = 0;
  for (const { start, end, why } of turn.marks) {
    if (start < from) continue;
    const note = t("desk_against", { why });
    parts.push(characters.slice(from, start).join(""),
      el("mark", { title: note, "aria-label": `${characters.slice(start, end).join("")} (${note})`, text: characters.slice(start, end).join("") }));
    from = end;
  }
  parts.push(characters.slice(from).join(""));
  const told = el("p", { class: fresh ? "fresh" : "", lang: now.lang }, ...parts);
  return turn.note ? [told, el("div", { class: "fine note", lang: now.lang, text: turn.note })] : [told];
}

function field(name, items) {
  const shown = t(`desk_field_${name}`);
  const locked = now.locked.includes(name);
  const place = el("section", { "data-field": name });
  const edit = el("button", { class: "quiet small", type: "button", "aria-label": t("desk_edit", { field: shown }), text: "✎",
    click: () => open(name, items, place) });
  const lock = el("button", { class: "quiet small", type: "button", "aria-pressed": String(locked), "aria-label": t("desk_lock", { field: shown }),
    text: t(locked ? "desk_locked" : "desk_unlocked"), click: () => change("lock", { field: name, locked: !locked }, `[data-field=${name}] [aria-pressed]`) });
  place.append(el("h3", {}, el("span", { text: shown }), edit, lock), el("ul", {}, ...items.map((text) => el("li", { text }))));
  return place;
}

function open(name, items, place) {
  const area = el("textarea", { rows: Math.max(3, items.length + 1), "aria-label": t("desk_edit", { field: t(`desk_field_${name}`) }), maxlength: 8000 });
  area.value = items.join("\n");
  const keep = () => change("edit", { field: name, lines: lines(area.value) }, `[data-field=${name}] button`);
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); event.stopPropagation(); keep(); }
    if (event.key === "Escape") { event.stopPropagation(); show(); at("fields").querySelector(`[data-field=${name}] button`).focus(); }
  });
  place.replaceChildren(el("h3", {}, el("span", { text: t(`desk_field_${name}`) })), area, el("div", { class: "row" },
    el("button", { class: "primary small", type: "button", text: t("desk_keep"), click: keep }),
    el("button", { class: "quiet small", type: "button", text: t("desk_cancel"), click: show })));
  area.focus();
}

function step(turn, away) {
  const label = turn.number ? t("desk_step", { number: turn.number }) : t("desk_beginning");
  return el("li", {}, el("button", { class: "entry", type: "button", "aria-current": turn.number === now.at ? "step" : false,
    click: () => change("go", { turn: turn.number }) },
    el("span", { class: "entry-title", text: `${away ? "⑂ " : ""}${label}: ${turn.passage}` })));
}

function show(fresh = -1) {
  at("title").textContent = now.title;
  at("words").textContent = t("desk_words", { number: now.words });
  const told = now.turns.filter((turn) => turn.passage);
  at("passages").replaceChildren(...told.length ? told.flatMap((turn) => passage(turn, turn.number === fresh))
    : [el("p", { class: "fine", text: t("desk_untold") })]);
  at("fields").replaceChildren(...Object.entries(now.fields).map(([name, items]) => field(name, items)));
  at("warnings").replaceChildren(...[...now.warnings, now.dropped].filter(Boolean).map((text) => el("li", { lang: now.lang, text })));
  at("steps").replaceChildren(...now.turns.map((turn) => step(turn, false)), ...now.elsewhere.map((turn) => step(turn, true)));
  at("consent").checked = now.consent;
  at("back").disabled = now.turns.length < 2;
}

function offer(plans) {
  offered = plans;
  at("plans").replaceChildren(...plans.map((plan, index) => el("label", { class: "option" },
    el("input", { type: "radio", name: "plan", value: index, change: () => { at("own").value = plan.join("\n"); } }),
    el("kbd", { text: String(index + 1) }), el("span", { text: plan.join("\n") }))));
}

function take(index) {
  const option = at("plans").querySelectorAll("input")[index];
  if (!option) return false;
  option.checked = true;
  option.focus();
  at("own").value = offered[index].join("\n");
  return true;
}

function hold(text) {
  busy = Boolean(text);
  at("working").textContent = text;
  for (const id of ["write", "ask", "back"]) at(id).disabled = busy;
  if (!busy) {
    at("back").disabled = now.turns.length < 2;
    at("unheld").textContent = unheld ? t("desk_unheld") : "";
  }
}

async function change(what, body, focus = "") {
  if (busy) return;
  try {
    const moved = what === "go";
    now = await post(`/api/desk/${what}`, { story: now.story, ...body });
    if (moved) { offer([]); at("own").value = now.fields.plan.join("\n"); }
    show();
    if (focus) document.querySelector(focus)?.focus();
  } catch (trouble) {
    toast(trouble.message, "bad");
    show();
  }
}

async function ask() {
  if (busy || at("ask").disabled) return;
  at("problem").textContent = "";
  hold(t("desk_working"));
  let chosen = null;
  try {
    const asked = { story: now.story, temperature: Number(at("heat-plan").value), choose: at("choose").value };
    const { plans, chosen: number, held } = await post("/api/desk/plans", asked);
    unheld ||= !held;
    offer(plans);
    chosen = number;
    if (plans.length) say(t("desk_plans")); else at("problem").textContent = t("desk_no_plans");
  } catch (trouble) {
    at("problem").textContent = trouble.message;
  }
  hold("");
  if (offered.length) take(chosen ?? 0);
  if (chosen !== null) await write(null, []);
}

async function* streamed(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
}

/** Write the plan; `others` are those that the person preferred it to: none where a machine chose. */
async function write(event, others = offered) {
  event?.preventDefault();
  const plan = lines(at("own").value);
  if (busy || at("write").disabled || !plan.length) { at("own").focus(); return; }
  at("problem").textContent = "";
  hold(t("desk_writing"));
  const fresh = el("p", { class: "fresh", lang: now.lang });
  at("passages").append(fresh);
  let done = false;
  try {
    const response = await fetch("/api/desk/write", { method: "POST", credentials: "same-origin", redirect: "error",
      headers: { "content-type": "application/json", "x-csrf-token": csrf },
      body: JSON.stringify({ story: now.story, plan, others, temperature: Number(at("heat-prose").value) }) });
    if (!response.ok) throw new Refusal(response.status, (await response.json()).error);
    for await (const row of streamed(response)) {
      if (row.piece) fresh.append(row.piece);
      if (row.reading) at("working").textContent = t("desk_reading");
      if (row.error) throw new Error(row.error);
      if (row.state) { now = row.state; done = true; unheld ||= !row.held; }
    }
    if (!done) throw new Error(t("unreachable"));
  } catch (trouble) {
    at("problem").textContent = trouble instanceof TypeError ? t("unreachable") : trouble.message;
  }
  hold("");
  show(done ? now.at : -1);
  if (!done) return;
  offer([]);
  at("own").value = "";
  say(t("desk_written"));
  at("next").scrollIntoView({ block: "nearest" });
}

if (now) {
  at("next").addEventListener("submit", (event) => write(event));
  at("ask").addEventListener("click", ask);
  at("back").addEventListener("click", () => change("go", { turn: now.turns.at(-2)?.number ?? 0 }));
  at("help").addEventListener("click", () => keys.help());
  at("consent").addEventListener("change", () => change("consent", { consent: at("consent").checked }));
  const numbers = Object.fromEntries([..."123456789"].map((key, index) => [key, () => take(index)]));
  keys.use({ ...numbers, p: ask, w: () => at("own").focus(), b: () => at("back").click(), "Ctrl+Enter": () => write(), "?": () => keys.help() },
    { "1 … 9": "desk_plan_key", P: "desk_ask", W: "desk_own", "Ctrl+Enter": "desk_write", B: "desk_back", "?": "keys_title" });
  at("own").value = now.fields.plan.join("\n");
  show();
} else {
  forms();
}
document.body.dataset.ready = "desk";
