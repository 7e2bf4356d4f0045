// SPDX-License-Identifier: Apache-2.0
// The pictures of a data set: walking the grid with the keys, and what is done with those that are selected.
"use strict";

let allFitting = false; // every picture that fits is meant, also those that are not shown
const mayWrite = "mayWrite" in studioMain.dataset;
const fittingTotal = () => Number(shelf().dataset.total);
const chosenCount = () => (allFitting ? fittingTotal() : picked.size);

function chosen() {
  return allFitting ? { filter: JSON.parse(shelf().dataset.selection) } : { ids: [...picked] };
}

const pickFitting = bar.querySelector("[data-pick-fitting]");
document.addEventListener("picks", () => {
  if (picked.size < shots().length) allFitting = false;
  const total = fittingTotal();
  pickFitting.hidden = allFitting || picked.size === 0 || picked.size < shots().length || total <= picked.size;
  pickFitting.textContent = `Select all ${total.toLocaleString()} that fit`;
  if (allFitting) bar.querySelector("[data-count]").textContent = `${total.toLocaleString()} selected`;
});
pickFitting.addEventListener("click", () => {
  allFitting = true;
  showPicks();
  bar.querySelector("[data-pick-none]").focus();
});
bar.addEventListener("click", (event) => {
  if (event.target.closest("[data-pick-none]")) allFitting = false;
});

// Changes

async function relabelChosen(name) {
  const count = chosenCount();
  const ids = [...picked];
  const note = await askStudio("POST", apiOf("datasets", "/relabel"), { ...chosen(), class_name: name });
  for (const id of allFitting ? shots().map((shot) => shot.dataset.picture) : ids) showClass(id, name);
  pickNone();
  refreshSummary();
  const words = name === "" ? "without a class" : `of class ${name}`;
  showToast(`${countWords(count, "picture is", "pictures are")} ${words} now.`, () => takeBackVersion(note));
}

async function tagChosen(tag, away) {
  const count = chosenCount();
  const note = await askStudio("POST", apiOf("datasets", "/tags"), { ...chosen(), [away ? "remove" : "add"]: [tag] });
  showToast(`${countWords(count, "picture", "pictures")}: tag “${tag}” ${away ? "taken away" : "added"}.`, () => takeBackVersion(note));
}

async function removeChosen() {
  const count = chosenCount();
  if (allFitting && !(await askSure(`Remove all ${count.toLocaleString()} pictures that fit? Earlier versions keep them.`, "Remove"))) return;
  const whole = allFitting;
  const ids = [...picked];
  const note = await askStudio("POST", apiOf("datasets", "/remove"), chosen());
  if (whole) return window.location.reload();
  document.dispatchEvent(new CustomEvent("removed-pictures", { detail: { ids, note } }));
}

document.addEventListener("removed-pictures", (event) => {
  const { ids, note } = event.detail;
  takeAway(ids);
  const left = fittingTotal() - ids.length;
  shelf().dataset.total = left;
  shelf().querySelector("[data-total-words]").textContent = countWords(left, "picture", "pictures");
  refreshSummary();
  showToast(`${countWords(ids.length, "picture was", "pictures were")} removed. Earlier versions keep ${ids.length === 1 ? "it" : "them"}.`, () => takeBackVersion(note));
});

function refreshSummary() {
  htmx.ajax("GET", apiOf("datasets", "?images=false"), { target: "#dataset-summary", swap: "outerHTML" });
}

// The bar

bar.addEventListener("submit", (event) => {
  event.preventDefault();
  const input = event.target.querySelector("input");
  const text = input.value.trim();
  if (event.target.matches("[data-relabel-picked]")) {
    if (text === "") return input.focus();
    relabelChosen(text).then(() => (input.value = ""), () => {});
  } else if (text === "") input.focus();
  else tagChosen(text, event.submitter?.value === "remove").then(() => (input.value = ""), () => {});
});
bar.addEventListener("click", (event) => {
  if (event.target.closest("[data-remove-picked]")) removeChosen().catch(() => {});
});

// Keys in the grid: arrows walk, with shift they select, x selects one, a class's key relabels what is selected.

function across() {
  const all = shots();
  const top = all[0]?.offsetTop;
  const next = all.findIndex((shot) => shot.offsetTop !== top);
  return next < 1 ? Math.max(1, all.length) : next;
}

function walkGrid(event, tile) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across(), ArrowDown: across() };
  if (!(event.key in steps)) return;
  const all = shots();
  const here = all.indexOf(tile);
  const next = all[here + steps[event.key]];
  event.preventDefault();
  if (next === undefined) {
    if (steps[event.key] > 0) document.querySelector("#next-shots a")?.click();
    return;
  }
  if (event.shiftKey) {
    const [from, to] = [here, all.indexOf(next)].sort((a, b) => a - b);
    for (const shot of all.slice(from, to + 1)) pick(shot.dataset.picture, true);
    lastPick = next.dataset.picture;
    showPicks();
  }
  next.querySelector("[data-open]").focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input:not([type=checkbox]), textarea, select")) return;
  const tile = event.target.closest("#shots > [data-picture]");
  if (tile !== null) walkGrid(event, tile);
  if (event.key === "x" && tile !== null) {
    pick(tile.dataset.picture, !picked.has(tile.dataset.picture));
    lastPick = tile.dataset.picture;
    return showPicks();
  }
  const key = document.querySelector(`#class-keys [data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (key !== null && mayWrite && picked.size > 0) {
    event.preventDefault();
    relabelChosen(key.dataset.class).catch(() => {});
  }
});
