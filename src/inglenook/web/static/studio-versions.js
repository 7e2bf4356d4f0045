// SPDX-License-Identifier: Apache-2.0
// Versions: go back to one, forget those before.
"use strict";

document.addEventListener("click", async (event) => {
  const back = event.target.closest("[data-return]");
  if (back !== null) {
    if (!(await askSure(`Make the data set like version ${back.dataset.return}? The versions in between stay.`, "Go back"))) return;
    await askStudio("POST", apiOf("datasets", `/versions/${back.dataset.return}/return`)).then(() => window.location.reload(), () => {});
  }
  if (event.target.closest("[data-purge]")) {
    if (!(await askSure("Forget every earlier version, and delete the pictures that only they hold? This cannot be taken back.", "Forget them"))) return;
    await askStudio("POST", apiOf("datasets", "/purge")).then(() => window.location.reload(), () => {});
  }
});
