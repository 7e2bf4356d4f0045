// SPDX-License-Identifier: Apache-2.0
// Classes: call one otherwise, make several one.
"use strict";

const renameBox = document.getElementById("rename-class");
const newName = document.getElementById("class-new-name");
let renamed = "";

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-rename-class]");
  if (button === null) return;
  renamed = button.dataset.renameClass;
  document.getElementById("rename-title").textContent = `Rename ${renamed}`;
  newName.value = renamed;
  renameBox.showModal();
  newName.select();
});

renameBox.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = newName.value.trim();
  renameBox.close();
  if (name === "" || name === renamed) return;
  askStudio("POST", apiOf("datasets", "/classes/rename"), { old: renamed, new: name }).then(() => window.location.reload(), () => {});
});

document.querySelector("[data-merge]")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const names = [...event.target.querySelectorAll('input[type="checkbox"]:checked')].map((box) => box.value);
  const into = document.getElementById("merge-into").value.trim();
  if (names.length === 0) return tellTrouble("Mark the classes that become one.");
  if (!(await askSure(`Make ${names.join(", ")} the class ${into}?`, "Merge"))) return;
  await askStudio("POST", apiOf("datasets", "/classes/merge"), { names, into }).then(() => window.location.reload(), () => {});
});
