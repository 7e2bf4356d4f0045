// SPDX-License-Identifier: Apache-2.0
// One picture of a data set over the page: its neighbours by the arrow keys, its class by a key, its tags.
"use strict";

const details = document.getElementById("details");
const detailsContent = document.getElementById("details-content");
let askedView = 0; // answers that come late, after another picture was asked for, are dropped

const viewingNow = () => detailsContent.querySelector("[data-viewing]");
const tilesAround = (tile) => [...(tile?.parentElement.querySelectorAll("[data-picture]") ?? [])];
let openedFrom = null; // the tile in the page that is shown large
// A page may have pictures without tiles (the map): it tells which come before and after.
let neighbourId = (id, step) => {
  const tiles = tilesAround(openedFrom);
  const here = tiles.findIndex((tile) => tile.dataset.picture === id);
  return here < 0 ? undefined : tiles[here + step]?.dataset.picture;
};

async function openPicture(id) {
  const mine = ++askedView;
  let answer;
  try {
    answer = await fetch(`/projects/${projectId}/dataset/view/${encodeURIComponent(id)}`, { headers: { "hx-request": "true" } });
  } catch {
    lostConnection();
    tellTrouble("The server did not answer; try again when it is back.");
    return;
  }
  foundConnection();
  const html = await answer.text();
  if (mine !== askedView) return;
  if (!answer.ok) {
    tellTrouble(parseFragment(html)?.textContent ?? "This picture cannot be shown.");
    return;
  }
  openedFrom = openedFrom?.parentElement?.querySelector(`[data-picture="${CSS.escape(id)}"]`) ?? openedFrom;
  detailsContent.innerHTML = html;
  localTimes(detailsContent);
  if (!details.open) details.showModal();
  detailsContent.querySelector("[autofocus]")?.focus();
  showEnds();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-open]");
  if (link === null || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  openedFrom = link.closest("[data-picture]");
  openPicture(openedFrom.dataset.picture);
});

const neighbour = (step) => neighbourId(viewingNow()?.dataset.viewing, step);

function showEnds() {
  for (const button of details.querySelectorAll("[data-step]")) {
    button.disabled = neighbour(Number(button.dataset.step)) === undefined;
  }
}
document.addEventListener("htmx:afterSettle", showEnds);

function go(step) {
  const next = neighbour(step);
  if (next !== undefined) openPicture(next);
  // The last one that is there: what comes after it is fetched, and the arrow works again.
  if (step > 0 && neighbour(step * 2) === undefined) document.querySelector("#next-shots a")?.click();
}

// Changing one picture

async function giveClass(id, name) {
  await askStudio("POST", apiOf("datasets", "/relabel"), { ids: [id], class_name: name });
  showClass(id, name);
  announce(name === "" ? "The class was taken away" : `Class: ${name}`);
}

// Everywhere on the page where the picture is shown.
function showClass(id, name) {
  for (const chip of document.querySelectorAll(`[data-picture="${CSS.escape(id)}"] [data-class]`)) {
    chip.textContent = name === "" ? "no class" : name;
    chip.classList.toggle("chip-none", name === "");
  }
  const view = viewingNow();
  if (view?.dataset.viewing !== id) return;
  view.dataset.class = name;
  for (const button of view.querySelectorAll("[data-give]")) {
    button.setAttribute("aria-pressed", String(button.dataset.give === name));
  }
}

async function changeTag(id, change) {
  await askStudio("POST", apiOf("datasets", "/tags"), { ids: [id], ...change });
  if (viewingNow()?.dataset.viewing === id) await openPicture(id);
}

async function removeOne(id) {
  const next = neighbour(1) ?? neighbour(-1);
  const note = await askStudio("POST", apiOf("datasets", "/remove"), { ids: [id] });
  document.dispatchEvent(new CustomEvent("removed-pictures", { detail: { ids: [id], note } }));
  if (next === undefined) details.close();
  else openPicture(next);
}

// Undo of a change: a version like the one before it, if nothing came in between.
async function takeBackVersion(note) {
  const { current } = await askStudio("GET", apiOf("datasets", "/versions"));
  if (current !== note.number) {
    tellTrouble("The data set was changed meanwhile. Go back to an earlier version under Versions.");
    throw new Error("changed");
  }
  await askStudio("POST", apiOf("datasets", `/versions/${note.number - 1}/return`));
  window.location.reload();
}

details.addEventListener("click", (event) => {
  if (event.target === details || event.target.closest("[data-close]")) return details.close();
  const step = event.target.closest("[data-step]");
  if (step !== null) return go(Number(step.dataset.step));
  const id = viewingNow()?.dataset.viewing;
  if (id === undefined) return;
  const give = event.target.closest("[data-give]");
  if (give !== null) giveClass(id, give.dataset.give).catch(() => {});
  const untag = event.target.closest("[data-untag]");
  if (untag !== null) changeTag(id, { remove: [untag.dataset.untag] }).catch(() => {});
  if (event.target.closest("[data-remove]")) removeOne(id).catch(() => {});
});

details.addEventListener("submit", (event) => {
  event.preventDefault();
  const id = viewingNow().dataset.viewing;
  const input = event.target.querySelector("input");
  const text = input.value.trim();
  if (text === "") return input.focus();
  if (event.target.matches("[data-tag-form]")) {
    changeTag(id, { add: [text] }).then(() => detailsContent.querySelector("#new-tag")?.focus(), () => {});
  } else {
    giveClass(id, text).then(() => openPicture(id), () => {});
  }
});

details.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowLeft") go(-1);
  if (event.key === "ArrowRight") go(1);
  const button = [...detailsContent.querySelectorAll("[data-give]")].find((it) => it.querySelector("kbd")?.textContent === event.key.toLowerCase());
  if (button) {
    event.preventDefault();
    button.click();
  }
});

// Back to where one was.
details.addEventListener("close", () => {
  askedView += 1;
  detailsContent.replaceChildren();
  openedFrom?.querySelector("[data-open]")?.focus();
});
