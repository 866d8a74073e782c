// Invitations: the link is shown once.

import { forms } from "./forms.js";

forms();
document.getElementById("invite").addEventListener("answered", ({ detail }) => {
  document.getElementById("link").textContent = detail.link;
  document.getElementById("link-box").hidden = false;
  document.getElementById("link").focus();
});
