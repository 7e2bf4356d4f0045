// SPDX-License-Identifier: Apache-2.0
// Find a setting by words of its name and its sentence. The page works without it.
"use strict";

const find = document.getElementById("find");
const found = document.getElementById("found");

function narrow() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const section of document.querySelectorAll(".settings-section")) {
    let here = 0;
    for (const setting of section.querySelectorAll(".setting")) {
      const said = setting.dataset.words.toLowerCase();
      setting.hidden = !words.every((word) => said.includes(word));
      here += setting.hidden ? 0 : 1;
    }
    section.hidden = here === 0;
    count += here;
  }
  found.textContent = words.length ? (count === 1 ? "One setting." : `${count} settings.`) : "";
}

if (find) find.addEventListener("input", narrow);

// After a save the focus stays at the setting that was saved.
let saving = "";
document.addEventListener("htmx:beforeRequest", (event) => {
  saving = event.target.closest(".setting")?.id ?? "";
});
document.addEventListener("htmx:afterSettle", () => {
  const here = saving && document.getElementById(saving);
  if (!here) return;
  saving = "";
  here.querySelector("[name=value]")?.focus();
  announce(here.querySelector(".field-error:not([hidden])")?.textContent ?? here.querySelector(".setting-origin").textContent);
});
