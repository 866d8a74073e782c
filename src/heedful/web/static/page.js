// What every page uses: its data, its words, elements made without HTML, and messages to the reader.

const root = document.documentElement;

export const csrf = document.body.dataset.csrf;
export const pageData = JSON.parse(document.body.dataset.page);
export const language = root.lang.startsWith("zh") ? "zh" : "en";

const words = (await import(`./words.${language}.js`)).default;

/** The sentence of a key, with {name} filled in; a key that is not known is shown as it is. */
export function t(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Whether the wording holds a key. */
export function known(key) {
  return key in words;
}

/**
 * An element. Attributes: a function listens to the event of its name, true and false set and leave out, `text` is
 * the content. Children are elements or plain strings; nothing is ever read as HTML.
 */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name === "text") made.textContent = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const TAGS = new Set(["p", "h1", "h2", "h3", "h4", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "hr",
  "br", "table", "thead", "tbody", "tr", "th", "td"]);

/** Elements of a tree of [tag, child, ...] that the server made of Markdown. */
export function tree(nodes) {
  return nodes.map((node) => typeof node === "string" ? node
    : el(TAGS.has(node[0]) ? node[0] : "span", {}, ...tree(node.slice(1))));
}

/** A letter for an answer's place on the page. */
export function letter(index) {
  return String.fromCharCode(65 + index);
}

const live = document.getElementById("live");

/** Say something to readers of screens. */
export function say(text) {
  live.textContent = "";
  requestAnimationFrame(() => { live.textContent = text; });
}

const toasts = document.getElementById("toasts");

/** Show a short message for a while; `kind` is "", "good" or "bad". */
export function toast(text, kind = "") {
  const shown = el("p", { class: `toast ${kind}`, role: kind === "bad" ? "alert" : "status", text });
  toasts.append(shown);
  setTimeout(() => shown.remove(), kind === "bad" ? 8000 : 3500);
}

/** Seconds as people read them. */
export function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes >= 60) return t("hours_minutes", { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
  return minutes ? t("minutes_seconds", { minutes, seconds: Math.floor(seconds % 60) })
    : t("seconds", { seconds: Math.floor(seconds) });
}
