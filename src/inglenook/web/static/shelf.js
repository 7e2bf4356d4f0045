// SPDX-License-Identifier: Apache-2.0
// The grid: filters in the address, more as one scrolls, selecting, and what is done with what is selected.
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
  for (const name of new Set([...document.getElementById("filters").elements].map((field) => field.name))) {
    if (name !== "tag" && (asked[name] === "" || (name === "order" && asked[name] === "newest"))) delete asked[name];
  }
  const tags = [].concat(asked.tag ?? []).filter((tag) => tag.trim() !== "");
  delete asked.tag;
  if (tags.length > 0) asked.tag = tags;
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target?.id === "shelf" || event.detail.elt?.id === "shelf") {
    document.getElementById("tag").value = "";
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
  if (next.getBoundingClientRect().top < window.innerHeight + NEAR_PX) link.click();
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
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && picked.size > 0 && document.querySelector("dialog[open]") === null) pickNone();
});

// What is done with it

bar.addEventListener("click", (event) => {
  const ids = [...picked];
  const on = (name) => event.target.closest(`[${name}]`) !== null;
  if (on("data-pick-none")) pickNone();
  if (on("data-pick-all")) {
    for (const shot of shots()) pick(shot.dataset.picture, true);
    showPicks();
  }
  if (on("data-star-picked")) starMany(ids).catch(() => {});
  if (on("data-trash-picked")) trash(ids).catch(() => {});
  if (on("data-restore-picked")) restore(ids).catch(() => {});
  if (on("data-forever-picked")) deleteForever(ids).catch(() => {});
  if (on("data-compare") && ids.length === 2) compareTwo(ids);
});

bar.addEventListener("submit", (event) => {
  if (event.target.matches("[data-zip]")) {
    event.target.elements.ids.value = [...picked].join(",");
    if (picked.size <= IDS_AT_ONCE) return;
    event.preventDefault();
    tellTrouble(`A zip file holds at most ${IDS_AT_ONCE} pictures; ${picked.size} are selected.`);
  } else {
    event.preventDefault();
    tagMany([...picked], document.getElementById("picked-tag")).catch(() => {});
  }
});

// All that are favourites already become none; else all become favourites.
async function starMany(ids) {
  const wanted = !ids.every((id) => shotOf(id)?.classList.contains("is-favourite") ?? false);
  await forIds("/v1/pictures/mark", ids, { favourite: wanted });
  for (const id of ids) showStar(id, wanted);
  announce(`${countWords(ids.length, "picture is", "pictures are")} ${wanted ? "marked as favourite" : "no longer favourite"}`);
}

async function tagMany(ids, field) {
  const tag = field.value.trim();
  if (tag === "") return field.focus();
  const answers = await forIds("/v1/pictures/mark", ids, { add_tags: [tag] });
  const changed = answers.reduce((sum, answer) => sum + answer.changed, 0);
  field.value = "";
  showToast(`${countWords(changed, "picture has", "pictures have")} the tag “${tag}” now.`, async () => {
    await forIds("/v1/pictures/mark", ids, { remove_tags: [tag] });
    announce("The tag was taken away again");
  });
}

function showStar(id, favourite) {
  shotOf(id)?.classList.toggle("is-favourite", favourite);
  const places = `[data-picture="${CSS.escape(id)}"] [data-star], [data-viewing="${CSS.escape(id)}"] [data-star]`;
  for (const button of document.querySelectorAll(places)) button.setAttribute("aria-pressed", String(favourite));
}

document.addEventListener("click", (event) => {
  const star = event.target.closest("[data-star]");
  if (star === null) return;
  const id = star.closest("[data-picture], [data-viewing]").dataset.picture ?? star.closest("[data-viewing]").dataset.viewing;
  const wanted = star.getAttribute("aria-pressed") !== "true";
  askApi("PATCH", `/v1/pictures/${id}`, { favourite: wanted }).then(
    () => {
      showStar(id, wanted);
      announce(wanted ? "Marked as favourite" : "No longer favourite");
    },
    () => {},
  );
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

async function trash(ids) {
  const gone = (await forIds("/v1/pictures/trash", ids)).flatMap((answer) => answer.ids);
  const putBack = takeAway(gone);
  showToast(`${countWords(gone.length, "picture was", "pictures were")} deleted.`, async () => {
    await forIds("/v1/pictures/restore", gone);
    putBack();
    announce(`${countWords(gone.length, "picture is", "pictures are")} back`);
  });
  return putBack;
}

async function restore(ids) {
  const back = (await forIds("/v1/pictures/restore", ids)).flatMap((answer) => answer.ids);
  const putBack = takeAway(back);
  showToast(`${countWords(back.length, "picture was", "pictures were")} restored.`, async () => {
    await forIds("/v1/pictures/trash", back);
    putBack();
  });
}

async function deleteForever(ids) {
  if (!(await askSure(`Delete ${countWords(ids.length, "picture", "pictures")} for good? This cannot be undone.`))) return false;
  for (const id of ids) {
    await askApi("DELETE", `/v1/pictures/${id}?forever=true`);
    takeAway([id]);
  }
  showToast(`${countWords(ids.length, "picture was", "pictures were")} deleted for good.`);
  return true;
}

document.addEventListener("click", async (event) => {
  if (!event.target.closest("[data-empty-trash]")) return;
  if (!(await askSure("Delete everything in the trash for good? This cannot be undone."))) return;
  await askApi("POST", "/v1/pictures/empty-trash").then(() => window.location.reload(), () => {});
});

showPicks();
loadNear();
