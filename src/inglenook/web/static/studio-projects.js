// SPDX-License-Identifier: Apache-2.0
// The list of projects: rename in place, share, delete.
"use strict";

const shareBox = document.getElementById("share");
const peopleList = shareBox.querySelector("[data-people]");
let sharedProject = null;

document.querySelector("dialog[data-open-now]")?.showModal();

function showRename(card, on) {
  const form = card.querySelector("[data-rename-form]");
  form.hidden = !on;
  card.querySelector("[data-project-acts]").hidden = on;
  if (on) form.querySelector("input").select();
  else {
    form.reset();
    card.querySelector("[data-rename]").focus();
  }
}

function addPerson(name = "", write = false) {
  const row = document.getElementById("person-row").content.cloneNode(true).firstElementChild;
  const field = row.querySelector("input");
  field.id = `person-${peopleList.childElementCount}-${Date.now()}`;
  row.querySelector("label").htmlFor = field.id;
  field.value = name;
  row.querySelector("select").value = write ? "write" : "";
  peopleList.append(row);
  return field;
}

function openShare(card) {
  sharedProject = card;
  document.getElementById("share-title").textContent = `Share ${card.dataset.name}`;
  peopleList.replaceChildren();
  for (const it of card.querySelectorAll("[data-shares] > li")) addPerson(it.dataset.person, "write" in it.dataset);
  if (peopleList.childElementCount === 0) addPerson();
  shareBox.showModal();
  peopleList.querySelector("input").focus();
}

async function swapCard(card, path, body) {
  const answer = await fetch(path, {
    method: "PUT",
    headers: { "content-type": "application/json", "hx-request": "true" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(toastText(text) ?? `The server refused this (status ${answer.status}).`);
  const fresh = parseFragment(text);
  card.replaceWith(fresh);
  htmx.process(fresh);
  localTimes(fresh);
  return fresh;
}

shareBox.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const people = [...peopleList.children].map((row) => ({
    person: row.querySelector("input").value.trim(),
    write: row.querySelector("select").value === "write",
  }));
  try {
    const fresh = await swapCard(sharedProject, `/api/projects/${sharedProject.id}/sharing`, { people });
    shareBox.close();
    showToast(people.length === 0 ? "The project is yours alone" : `Shared with ${countWords(people.length, "person", "people")}`);
    fresh.querySelector("[data-share-project]").focus();
  } catch (error) {
    shareBox.close();
    tellTrouble(error instanceof TypeError ? "The server did not answer; try again when it is back." : error.message);
  }
});

async function deleteProject(card) {
  const goes = card.dataset.goes;
  if (!(await askSure(`Delete ${card.dataset.name} for good? What goes: ${goes}. It cannot be taken back.`))) return;
  await askApi("DELETE", `/api/projects/${card.id}`);
  showToast(`${card.dataset.name} was deleted`);
  const next = card.nextElementSibling ?? card.previousElementSibling;
  card.remove();
  if (next) next.querySelector("h2 a").focus();
  else htmx.ajax("GET", "/api/projects", { target: "#project-grid", swap: "outerHTML" });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button === null) return;
  const card = button.closest(".project");
  if ("rename" in button.dataset) showRename(card, true);
  else if ("renameAway" in button.dataset) showRename(card, false);
  else if ("shareProject" in button.dataset) openShare(card);
  else if ("deleteProject" in button.dataset) deleteProject(card).catch(() => {});
  else if ("addPerson" in button.dataset) addPerson().focus();
  else if ("dropPerson" in button.dataset) {
    button.closest("li").remove();
    shareBox.querySelector("[data-add-person]").focus();
  }
});
document.addEventListener("keydown", (event) => {
  const form = event.target.closest?.("[data-rename-form]");
  if (event.key === "Escape" && form) showRename(form.closest(".project"), false);
});
