// SPDX-License-Identifier: Apache-2.0
// A grid of pictures: filters in the address, more as one scrolls, selecting with the mouse and the keyboard.
"use strict";

const NEAR_PX = 800; // how far below the window more is fetched

const bar = document.getElementById("picked");
const picked = new Set(); // ids
let lastPick = null; // where a row of picks began
let byKeyboard = false; // whoever walks with the keyboard is not given a longer way while walking

const shelf = () => document.getElementById("shelf");
const shots = () => [...document.querySelectorAll("#shots > [data-picture]")];
const shotOf = (id) => document.querySelector(`#shots > [data-picture="${CSS.escape(id)}"]`);

// Filters: only what says something stands in the address.

document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt.id !== "filters") return;
  const asked = event.detail.parameters;
  const usual = JSON.parse(document.getElementById("filters").dataset.usual);
  for (const name of new Set([...document.getElementById("filters").elements].map((field) => field.name))) {
    if (name !== "tag" && (asked[name] === "" || asked[name] === usual[name])) delete asked[name];
  }
  const tags = [].concat(asked.tag ?? []).filter((tag) => tag.trim() !== "");
  delete asked.tag;
  if (tags.length > 0) asked.tag = tags;
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target?.id === "shelf" || event.detail.elt?.id === "shelf") {
    const tag = document.getElementById("tag");
    if (tag !== null) tag.value = "";
    pickNone();
    const found = shots().length;
    announce(found === 0 ? "No picture fits" : `${countWords(found, "picture", "pictures")}${document.getElementById("next-shots") ? " and more" : ""}`);
  }
  showPicks();
  loadNear();
});

// More, before the end is reached

function loadNear() {
  const next = document.getElementById("next-shots");
  if (next === null || byKeyboard || document.hidden) return;
  const link = next.querySelector("a");
  if (link.classList.contains("htmx-request")) return;
  if (next.getBoundingClientRect().top < window.innerHeight + NEAR_PX) showMore(next);
}

// htmx knows what came a moment ago only when it has settled; pressed before that, the link leaves the page.
function showMore(next) {
  htmx.process(next);
  next.querySelector("a").click();
}

for (const name of ["wheel", "touchmove", "pointerdown"]) {
  window.addEventListener(name, () => (byKeyboard = false), { passive: true });
}
window.addEventListener("keydown", (event) => {
  if (["Tab", "ArrowDown", "ArrowUp", "PageDown", "End"].includes(event.key)) byKeyboard = true;
});
window.addEventListener("scroll", loadNear, { passive: true });
window.addEventListener("resize", loadNear);

// Selecting

document.addEventListener("click", (event) => {
  const box = event.target.closest("[data-pick]");
  if (box === null) return;
  if (event.shiftKey && lastPick !== null) pickRow(lastPick, box.value, box.checked);
  else pick(box.value, box.checked);
  lastPick = box.value;
  showPicks();
});

function pick(id, wanted) {
  if (wanted) picked.add(id);
  else picked.delete(id);
}

function pickRow(from, to, wanted) {
  const ids = shots().map((shot) => shot.dataset.picture);
  const [start, end] = [ids.indexOf(from), ids.indexOf(to)].sort((a, b) => a - b);
  if (start < 0) return pick(to, wanted);
  for (const id of ids.slice(start, end + 1)) pick(id, wanted);
}

function pickNone() {
  picked.clear();
  lastPick = null;
  showPicks();
}

function showPicks() {
  for (const shot of shots()) {
    const on = picked.has(shot.dataset.picture);
    shot.classList.toggle("is-picked", on);
    shot.querySelector("[data-pick]").checked = on;
  }
  bar.hidden = picked.size === 0;
  document.body.classList.toggle("is-picking", picked.size > 0);
  bar.querySelector("[data-count]").textContent = `${picked.size} selected`;
  const compare = bar.querySelector("[data-compare]");
  if (compare !== null) compare.disabled = picked.size !== 2;
  document.dispatchEvent(new CustomEvent("picks"));
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && picked.size > 0 && document.querySelector("dialog[open]") === null) pickNone();
});

bar.addEventListener("click", (event) => {
  if (event.target.closest("[data-pick-none]")) pickNone();
  if (event.target.closest("[data-pick-all]")) {
    for (const shot of shots()) pick(shot.dataset.picture, true);
    showPicks();
  }
});

// Away at once, and back at the same place.
function takeAway(ids) {
  const places = [];
  for (const id of ids) {
    const shot = shotOf(id);
    if (shot === null) continue;
    places.push({ shot, before: shot.nextElementSibling });
    shot.remove();
    pick(id, false);
  }
  showPicks();
  loadNear();
  return () => {
    for (const { shot, before } of places.reverse()) {
      const list = document.getElementById("shots");
      list.insertBefore(shot, before?.parentElement === list ? before : document.getElementById("next-shots"));
    }
    showPicks();
  };
}

showPicks();
document.addEventListener("DOMContentLoaded", loadNear); // by then htmx has read the page
