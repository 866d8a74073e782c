// One request whose answer comes in events, and the settings that it is sent with.

import { Refusal } from "./api.js";
import { csrf, t } from "./page.js";

const at = (id) => document.getElementById(id);

/** How answers are drawn, as the fields on the page say. */
export function drawn() {
  const found = { temperature: Number(at("temperature").value), top_p: Number(at("top_p").value) };
  const longest = Math.floor(Number(at("max_tokens").value));
  if (longest > 0) found.max_tokens = Math.min(8192, longest);
  if (at("seed").value !== "") found.seed = Math.max(0, Math.floor(Number(at("seed").value)));
  return found;
}

/** Ask, and call `take` with every event, until the last; stops when the signal says so. */
export async function stream(body, signal, take) {
  const response = await fetch("/api/chat", { method: "POST", body: JSON.stringify(body), signal, credentials: "same-origin",
    headers: { "content-type": "application/json", "x-csrf-token": csrf } });
  if (!response.ok) throw new Refusal(response.status, (await response.json().catch(() => ({}))).error);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read().catch((problem) => {
      throw problem.name === "AbortError" ? problem : new Error(t("unreachable"));
    });
    if (done) return;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) take(JSON.parse(event.slice("data: ".length)));
  }
}
