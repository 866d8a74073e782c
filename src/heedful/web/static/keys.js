// The keyboard: single keys that mean something on the page, and nothing at all in a text field.

import { el, t } from "./page.js";

const layers = [];

const TEXT = new Set(["text", "search", "email", "password", "number", "url", "tel", "date", "time"]);

/** Whether keys belong to this element's text. */
export function writes(element) {
  if (!(element instanceof HTMLElement)) return false;
  if (element.isContentEditable || element.tagName === "TEXTAREA" || element.tagName === "SELECT") return true;
  return element.tagName === "INPUT" && TEXT.has(element.type);
}

/**
 * Use keys until the returned function is called: {"1": handler, "Shift+ArrowUp": handler, "Ctrl+Enter": handler}.
 * A handler that returns false lets the key through. Keys with Ctrl work in text fields, others do not. `words` maps
 * what the help shows to keys of the wording, in the order of showing.
 */
export function use(bindings, words = {}) {
  const layer = { bindings, words };
  layers.push(layer);
  return () => layers.splice(layers.indexOf(layer), 1);
}

function name(event) {
  const parts = [];
  if (event.ctrlKey || event.metaKey) parts.push("Ctrl");
  if (event.altKey) parts.push("Alt");
  if (event.shiftKey && event.key.length > 1) parts.push("Shift");
  const key = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return [...parts, key].join("+");
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
  const pressed = name(event);
  if (writes(event.target)) {
    if (pressed === "Escape") event.target.blur();
    if (!pressed.startsWith("Ctrl+")) return;
  } else if (pressed === "Enter" && event.target.closest?.("a, button:not([data-roving]), summary")) {
    return;
  }
  for (const layer of [...layers].reverse()) {
    const handler = layer.bindings[pressed];
    if (handler && handler(event) !== false) {
      event.preventDefault();
      return;
    }
  }
});

/** Show which keys do what at this moment. */
export function help() {
  const rows = layers.flatMap((layer) => Object.entries(layer.words)).map(([keys, word]) => el("div", {},
    el("dt", {}, ...keys.split(" ").map((key) => el("kbd", { text: key }))), el("dd", { text: t(word) })));
  const close = el("button", { class: "primary", click: () => dialog.close(), text: t("close") });
  const dialog = el("dialog", { "aria-label": t("keys_title") }, el("h2", { text: t("keys_title") }),
    el("dl", { class: "keys" }, ...rows), el("p", { class: "fine", text: t("keys_note") }), el("div", { class: "row end" }, close));
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
}
