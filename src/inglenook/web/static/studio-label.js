// SPDX-License-Identifier: Apache-2.0
// Label mode: one picture large, a key for each class, the next one at once. What was said is sent one after the
// other behind it; what the server refuses comes back to the screen.
"use strict";

const labelRoom = document.getElementById("label");
const AHEAD = 24; // pictures that are known before they are shown
const CLASS_KEYS = "1234567890qwertyuiopfghjklvbnm"; // as web/studio/tiles.py has them

const part = (name) => labelRoom.querySelector(`[data-${name}]`);
const everything = "everything" in labelRoom.dataset;
const trail = []; // pictures in the order in which they are shown: {id, filename, class, was}
const undoable = []; // {at, was}
let at = -1;
let cursor = ""; // of the next page of the list; null at its end
let fetching = null;
let done = Number(labelRoom.dataset.done);
const total = Number(labelRoom.dataset.total);
let sending = Promise.resolve();

const fileOf = (it) => apiOf("datasets", `/images/${encodeURIComponent(it.filename)}`);

async function fetchMore() {
  if (cursor === null) return;
  fetching ??= (async () => {
    const query = new URLSearchParams({ after: cursor, page_size: AHEAD, split_name: "" });
    if (!everything) query.set("unlabelled", "true");
    const found = await askStudio("GET", apiOf("datasets", `/images?${query}`));
    cursor = found.after ?? null;
    const known = new Set(trail.map((it) => it.id));
    for (const it of found.items) {
      if (!known.has(it.id)) trail.push({ id: it.id, filename: it.filename, width: it.width, height: it.height, class: it.class_name ?? "" });
    }
  })().finally(() => (fetching = null));
  return fetching;
}

async function show(place) {
  try {
    while (place >= trail.length && cursor !== null) await fetchMore();
  } catch {
    part("stage-words").textContent = "The server did not answer. Reload the page when it is back.";
    return;
  }
  at = Math.max(0, Math.min(place, trail.length));
  const it = trail[at];
  const picture = part("stage-picture");
  picture.hidden = it === undefined;
  part("stage-words").hidden = it !== undefined;
  part("stage-name").textContent = it?.filename ?? "";
  if (it === undefined) part("stage-words").textContent = done >= total && total > 0 ? "Every picture has a class." : "That was the last picture.";
  else {
    picture.src = fileOf(it);
    picture.alt = it.filename;
    picture.classList.toggle("pixels", Math.max(it.width, it.height) <= 64);
    picture.dataset.id = it.id;
  }
  showState();
  if (trail[at + 1]) new Image().src = fileOf(trail[at + 1]);
  if (at + AHEAD / 2 >= trail.length) fetchMore().catch(() => {});
}

function showState() {
  const it = trail[at];
  const chip = part("stage-class");
  chip.hidden = !it?.class;
  chip.textContent = it?.class ?? "";
  for (const button of part("classes").querySelectorAll("[data-give]")) {
    button.setAttribute("aria-pressed", String(it !== undefined && button.dataset.give === it.class));
    button.disabled = it === undefined;
  }
  part("label-words").textContent = `${done.toLocaleString()} of ${total.toLocaleString()} have a class`;
  part("label-meter").value = done;
  part("undo-label").disabled = undoable.length === 0;
  part("skip").disabled = it === undefined;
  part("before").disabled = at <= 0;
}

// Sent in the order in which it was said, so that the last word about a picture stays the last.
function tell(it, name, before) {
  sending = sending.then(() =>
    askStudio("POST", apiOf("datasets", "/relabel"), { ids: [it.id], class_name: name }).catch(() => {
      count(it.class, before);
      it.class = before;
      show(trail.indexOf(it));
    }),
  );
  return sending;
}

function count(was, is) {
  done += (is === "" ? 0 : 1) - (was === "" ? 0 : 1);
}

function give(name) {
  const it = trail[at];
  if (it === undefined) return;
  const before = it.class;
  undoable.push({ at, was: before });
  count(before, name);
  it.class = name;
  tell(it, name, before);
  announce(`${it.filename}: ${name}`);
  show(at + 1);
}

function undo() {
  const last = undoable.pop();
  if (last === undefined) return;
  const it = trail[last.at];
  const before = it.class;
  count(before, last.was);
  it.class = last.was;
  tell(it, last.was, before);
  announce(`${it.filename}: taken back`);
  show(last.at);
}

function addClass(name) {
  const known = [...part("classes").querySelectorAll("[data-give]")].find((button) => button.dataset.give === name);
  if (known === undefined) {
    const key = CLASS_KEYS[part("classes").childElementCount] ?? "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.dir = "auto";
    button.dataset.give = name;
    button.dataset.key = key;
    const words = document.createElement("span");
    words.textContent = name;
    if (key !== "") button.append(Object.assign(document.createElement("kbd"), { textContent: key }));
    button.append(words);
    const item = document.createElement("li");
    item.append(button);
    part("classes").append(item);
  }
  give(name);
}

labelRoom.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button === null) return;
  if ("give" in button.dataset) give(button.dataset.give);
  else if ("undoLabel" in button.dataset) undo();
  else if ("skip" in button.dataset) show(at + 1);
  else if ("before" in button.dataset) show(at - 1);
});

labelRoom.addEventListener("submit", (event) => {
  event.preventDefault();
  const input = document.getElementById("new-class");
  const name = input.value.trim();
  if (name === "") return;
  input.value = "";
  addClass(name);
  part("stage").focus();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const key = event.key.toLowerCase();
  const acts = { backspace: undo, u: undo, z: undo, arrowleft: () => show(at - 1), arrowright: () => show(at + 1), " ": () => show(at + 1) };
  if (key === " " && event.target.closest("button, a")) return;
  if (key in acts && !(key === "u" && part("classes").querySelector('[data-key="u"]'))) {
    event.preventDefault();
    return acts[key]();
  }
  const button = part("classes").querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (button !== null && button.dataset.key !== "") {
    event.preventDefault();
    give(button.dataset.give);
  }
});

show(0);
