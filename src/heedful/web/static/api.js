// Requests to our own origin: JSON in, JSON out, with the token that proves they come from a page of ours.

import { csrf, t } from "./page.js";

/** The server could not be reached, or is in trouble: the same request may be sent again. */
export class Unreachable extends Error {}

/** The server refused: `status`, `code`, and a `message` for the reader. */
export class Refusal extends Error {
  constructor(status, error) {
    super(error?.message ?? t("problem_fault"));
    this.status = status;
    this.code = error?.code ?? "fault";
    this.current = error?.current ?? null;
  }
}

/** Send a request and return the JSON of its answer. */
export async function call(method, path, body = undefined) {
  const headers = { accept: "application/json", "x-csrf-token": csrf };
  const file = body instanceof Blob;
  if (body !== undefined) headers["content-type"] = file ? "application/octet-stream" : "application/json";
  const sent = body === undefined || file ? body : JSON.stringify(body);
  let response;
  let data;
  try {
    response = await fetch(path, { method, headers, body: sent, credentials: "same-origin", redirect: "error" });
    data = await response.json();
  } catch {
    throw new Unreachable(t("unreachable"));
  }
  if (response.ok) return data;
  if (response.status >= 500 || response.status === 429 && !path.endsWith("/enter")) {
    throw new Unreachable(data.error?.message ?? t("unreachable"));
  }
  throw new Refusal(response.status, data.error);
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}) => call("POST", path, body);
