// The list that is put in order: by dragging, by buttons, and by keys. All three end in the same tiers.

import * as order from "./order.js";
import { el, letter, say, t } from "./page.js";

/** An ordered list of answers. Returns {root, tiers(), set(tiers), keys, words, focus()}. */
export function ranking(assignment, changed) {
  let tiers = assignment.answers.map((_, index) => [index]);
  let current = 0;
  let places = new Map();
  const list = el("ol", { class: "ranking", "aria-label": t("ranking_label") });
  const items = assignment.answers.map((answer, index) => item(answer.text, index));

  function item(text, index) {
    const name = letter(index);
    const handle = el("button", { class: "handle", type: "button", "data-roving": true, focus: () => { pick(index, false); } },
      el("span", { class: "place" }), el("span", { class: "letter", text: name }), el("span", { class: "hidden" }));
    const button = (word, face, act) => el("button", { class: "quiet small", type: "button", tabindex: "-1", click: act,
      "aria-label": t(word, { letter: name }), title: t(word, { letter: name }), text: face });
    const up = button("rank_up", "↑", () => change(order.stepped(tiers, index, -1), index));
    const down = button("rank_down", "↓", () => change(order.stepped(tiers, index, 1), index));
    const tie = button("rank_tie", "=", () => change(order.tied(tiers, index), index));
    const root = el("li", { class: "ranked" }, handle,
      el("p", { class: "text", dir: "auto", text: text || t("answer_empty") }), el("div", { class: "moves" }, up, down, tie));
    handle.addEventListener("pointerdown", (event) => drag(event, index));
    return { root, handle, tie };
  }

  function change(made, index, keepPlaces = false) {
    tiers = made;
    if (!keepPlaces) places = new Map();
    draw();
    pick(index);
    announce(index);
    changed();
  }

  function announce(index) {
    const at = tiers.findIndex((tier) => tier.includes(index));
    const others = tiers[at].filter((other) => other !== index).map(letter).join(", ");
    const values = { letter: letter(index), place: placeOf(index), count: items.length, others };
    say(t(others ? "rank_said_tied" : "rank_said", values));
  }

  function placeOf(index) {
    let before = 0;
    for (const tier of tiers) {
      if (tier.includes(index)) return before + 1;
      before += tier.length;
    }
    return before;
  }

  function draw() {
    for (const index of order.flat(tiers)) {
      const { root, handle, tie } = items[index];
      const at = tiers.find((tier) => tier.includes(index));
      const others = at.filter((other) => other !== index).map(letter).join(", ");
      handle.firstChild.textContent = placeOf(index);
      const values = { letter: letter(index), place: placeOf(index), count: items.length, others };
      handle.lastChild.textContent = t(others ? "rank_handle_tied" : "rank_handle", values);
      root.classList.toggle("tied-above", at.indexOf(index) > 0);
      root.classList.toggle("tied-below", at.indexOf(index) < at.length - 1);
      tie.setAttribute("aria-pressed", String(at.length > 1));
    }
    const wanted = order.flat(tiers).map((index) => items[index].root);
    // Moving a focused element loses its focus, so nothing is moved that stands right.
    wanted.forEach((root, position) => { if (list.children[position] !== root) list.insertBefore(root, list.children[position] ?? null); });
  }

  function pick(index, focus = true) {
    current = index;
    items.forEach(({ handle, root }, other) => {
      handle.tabIndex = other === index ? 0 : -1;
      root.classList.toggle("current", other === index);
    });
    if (focus && document.activeElement !== items[index].handle) items[index].handle.focus();
  }

  function step(by) {
    const line = order.flat(tiers);
    pick(line[Math.max(0, Math.min(line.length - 1, line.indexOf(current) + by))]);
  }

  function put(place) {
    if (place > items.length) return;
    const index = current;
    places.set(index, place);
    change(order.placed(tiers, places), index, true);
    // On to the next answer that has no place yet.
    const next = order.flat(tiers).find((other) => !places.has(other));
    if (next !== undefined) pick(next);
  }

  function drag(event, index) {
    if (event.button !== 0) return;
    const { root, handle } = items[index];
    handle.setPointerCapture(event.pointerId);
    const start = event.clientY + scrollY;
    let moves = false;
    let target = order.flat(tiers).indexOf(index);
    const centres = [...list.children].map((child) => child.offsetTop + child.offsetHeight / 2);
    const own = target;
    const follow = (move) => {
      const by = move.clientY + scrollY - start;
      if (!moves && Math.abs(by) < 5) return;
      moves = true;
      root.classList.add("dragged");
      root.style.transform = `translateY(${by}px)`;
      const centre = centres[own] + by;
      target = centres.filter((other, at) => at !== own && other < centre).length;
      [...list.children].forEach((child, at) => {
        const shift = at > own && at <= target ? -root.offsetHeight : at < own && at >= target ? root.offsetHeight : 0;
        if (child !== root) child.style.transform = shift ? `translateY(${shift}px)` : "";
      });
      if (move.clientY < 60) scrollBy(0, -12);
      if (move.clientY > innerHeight - 60) scrollBy(0, 12);
    };
    const end = (last) => {
      handle.removeEventListener("pointermove", follow);
      [...list.children].forEach((child) => { child.style.transform = ""; });
      root.classList.remove("dragged");
      if (moves && last.type === "pointerup" && target !== own) change(order.moved(tiers, index, target), index);
      else pick(index);
    };
    handle.addEventListener("pointermove", follow);
    handle.addEventListener("pointerup", end, { once: true });
    handle.addEventListener("pointercancel", end, { once: true });
  }

  const keys = {
    ArrowUp: () => step(-1),
    ArrowDown: () => step(1),
    "Shift+ArrowUp": () => change(order.stepped(tiers, current, -1), current),
    "Shift+ArrowDown": () => change(order.stepped(tiers, current, 1), current),
    "=": () => change(order.tied(tiers, current), current),
    t: () => change(order.tied(tiers, current), current),
  };
  for (let place = 1; place <= 9; place++) keys[String(place)] = () => put(place);
  draw();
  return {
    root: list,
    keys,
    words: { "1 … 9": "key_place", "↑ ↓": "key_move", "Shift+↑ Shift+↓": "key_shift", "= T": "key_tie" },
    tiers: () => tiers.map((tier) => [...tier].sort((a, b) => a - b)),
    set(given) { tiers = given.map((tier) => [...tier]); places = new Map(); draw(); pick(order.flat(tiers)[0], false); },
    focus() { places = new Map(); pick(order.flat(tiers)[0]); },
  };
}
