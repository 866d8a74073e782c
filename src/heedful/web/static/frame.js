// The bar on top of every page: theme, language, leaving.

import { post } from "./api.js";
import { toast } from "./page.js";

const root = document.documentElement;

document.getElementById("theme").addEventListener("click", async () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  await post("/api/settings", { theme: root.dataset.theme }).catch((problem) => toast(problem.message, "bad"));
});

document.getElementById("language").addEventListener("click", async (event) => {
  try {
    await post("/api/settings", { language: event.currentTarget.dataset.other });
    location.reload();
  } catch (problem) {
    toast(problem.message, "bad");
  }
});

document.getElementById("leave")?.addEventListener("click", async () => {
  try {
    location.assign((await post("/api/leave")).to);
  } catch (problem) {
    toast(problem.message, "bad");
  }
});
