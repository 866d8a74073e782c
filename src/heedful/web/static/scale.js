// A row of choices, one of which holds: native radio buttons, so that arrows, touch and readers of screens work.

import { el } from "./page.js";

let made = 0;

/**
 * A scale with a legend. `options` are [{value, label, short, title, tone}], `changed` is called when the person chooses.
 * Returns {root, value(), set(value), focus(), mark(boolean)}; a value that was not chosen is null.
 */
export function scale(legend, options, changed, { look = "" } = {}) {
  const name = `scale-${made++}`;
  const inputs = options.map(({ value }) => el("input", { type: "radio", name, value: String(value),
    change: () => changed(value) }));
  // `short` stands for the label where there is no room; the title is said in full to readers of screens.
  const labels = options.map(({ label, short, title, tone }, index) => el("label", { class: `choice ${tone ?? ""}`, title: title ?? null },
    inputs[index], el("span", { class: "face", "aria-hidden": title ? "true" : null },
      ...(short ? [el("span", { class: "long", text: label }), el("span", { class: "short", text: short })] : [label])),
    title ? el("span", { class: "hidden", text: title }) : null));
  const root = el("fieldset", { class: `scale ${look}` }, el("legend", { text: legend }), el("div", { class: "choices" }, ...labels));
  return {
    root,
    value() {
      const index = inputs.findIndex((input) => input.checked);
      return index < 0 ? null : options[index].value;
    },
    set(value) { inputs.forEach((input, index) => { input.checked = options[index].value === value; }); },
    focus() { (inputs.find((input) => input.checked) ?? inputs[0]).focus({ preventScroll: true }); },
    mark(current) { root.classList.toggle("current", current); },
    disable(off) { root.disabled = off; },
  };
}

/** The scale from 1 (worst) to 7 (best). */
export function marks(legend, changed, titles) {
  const options = [1, 2, 3, 4, 5, 6, 7].map((value) => ({ value, label: String(value), title: titles[value] && `${value}, ${titles[value]}` }));
  return scale(legend, options, changed, { look: "marks" });
}
