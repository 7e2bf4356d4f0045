// SPDX-License-Identifier: Apache-2.0
// The drawing form: what a form without scripts does without. The form and its parts are replaced at times,
// so everything listens at the document and looks for its elements when it is needed.
"use strict";

const MAX_RANDOM_SEED = 2 ** 32; // what fits into a picture's metadata of every tool that reads it

const byId = (id) => document.getElementById(id);
const drawForm = () => byId("draw-form");

// The words

function fitArea(area) {
  area.style.height = "auto";
  const borders = area.offsetHeight - area.clientHeight;
  area.style.height = `${Math.min(area.scrollHeight + borders, 360)}px`;
}

function fillWords(prompt, negative) {
  byId("prompt").value = prompt;
  if (!byId("negative_prompt").disabled) byId("negative_prompt").value = negative;
  for (const area of drawForm().querySelectorAll("textarea")) fitArea(area);
  byId("history").open = false;
  byId("prompt").focus();
}

// A learned word goes where the caret is, with a comma to what stands before.
function insertWord(word) {
  const area = byId("prompt");
  const before = area.value.slice(0, area.selectionStart).trimEnd();
  const after = area.value.slice(area.selectionEnd);
  const text = before === "" || before.endsWith(",") ? `${before} ${word}`.trimStart() : `${before}, ${word}`;
  area.value = text + (after === "" || /^[\s,.]/.test(after) ? after : ` ${after}`);
  area.focus();
  area.setSelectionRange(text.length, text.length);
  fitArea(area);
}

// The size

function showSides() {
  byId("sides").hidden = byId("size").value !== "custom";
}

function swapSides() {
  const size = byId("size");
  const now =
    size.value === "custom" ? [byId("width").value, byId("height").value] : (size.value || byId("size-swap").dataset.own).split("x");
  const swapped = `${now[1]}x${now[0]}`;
  const preset = [...size.options].find((option) => option.value === swapped);
  size.value = preset === undefined ? "custom" : swapped;
  [byId("width").value, byId("height").value] = preset === undefined ? [now[1], now[0]] : ["", ""];
  showSides();
}

// The seed: empty draws a new one each time. The lock keeps the last one that was drawn.

function setSeed(seed) {
  byId("seed").value = seed;
  markSeed();
}

function markSeed() {
  byId("seed-lock").setAttribute("aria-pressed", String(byId("seed").value !== ""));
}

const randomSeed = () => String(crypto.getRandomValues(new Uint32Array(1))[0] % MAX_RANDOM_SEED);
const lastSeed = () => document.querySelector("#jobs > .card[data-seed]")?.dataset.seed || randomSeed();

// Numbers with a slider: an empty one shows where the model's own value lies.

function sliderOf(number) {
  return number.id === "" ? null : drawForm().querySelector(`[data-for="${number.id}"]`);
}

function numberOf(slider) {
  return byId(slider.dataset.for);
}

// Noise levels that the scheduler cannot be asked at

function fitSigmas() {
  const scheduler = byId("scheduler").value;
  for (const option of byId("sigmas").options) {
    option.disabled = scheduler !== "" && option.value !== "" && !option.dataset.fits.split(" ").includes(scheduler);
    if (option.disabled && option.selected) byId("sigmas").value = "";
  }
}

// Once for each form, and for each part of it that came anew

function prepareForm() {
  if (drawForm() === null) return;
  for (const area of drawForm().querySelectorAll("textarea")) fitArea(area);
  showSides();
  markSeed();
  fitSigmas();
}

const CLICKS = {
  "#seed-lock": () => setSeed(byId("seed").value === "" ? lastSeed() : ""),
  "#seed-dice": () => setSeed(randomSeed()),
  "#size-swap": swapSides,
  "[data-word]": (button) => insertWord(button.dataset.word),
  "[data-prompt]": (link) => fillWords(link.dataset.prompt, link.dataset.negative),
};

document.addEventListener("click", (event) => {
  for (const [selector, act] of Object.entries(CLICKS)) {
    const found = event.target.closest(selector);
    if (found === null) continue;
    event.preventDefault();
    act(found);
  }
  const history = byId("history");
  if (history?.open && !history.contains(event.target)) history.open = false;
});

document.addEventListener("input", (event) => {
  const field = event.target;
  if (field.closest("#draw-form") === null) return;
  if (field.matches("textarea")) fitArea(field);
  if (field.id === "seed") markSeed();
  if (field.matches(".slider[data-for]")) numberOf(field).value = field.value;
  else if (field.type === "number") {
    const slider = sliderOf(field);
    if (slider) slider.value = field.value || field.placeholder;
  }
});

document.addEventListener("change", (event) => {
  if (event.target.id === "size") {
    showSides();
    if (event.target.value === "custom") byId("width").focus();
  }
  if (event.target.id === "scheduler") fitSigmas();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && byId("history")?.open && !event.defaultPrevented) {
    byId("history").open = false;
    byId("history").querySelector("summary").focus();
  }
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  if (event.target.closest("#draw-form") === null) return;
  event.preventDefault();
  drawForm().requestSubmit();
});

// Errors arrive at their fields; the first one gets the focus, and a folded part is opened for it.

const FIELDS_OF = {
  size: ["size", "width", "height"],
  extend: ["extend_left", "extend_top", "extend_right", "extend_bottom"],
  hires: ["hires_scale", "hires_strength", "hires_steps"],
  loras: ["lora"],
  mask: ["mask_width"],
};

function showErrors() {
  let first = null;
  for (const slot of drawForm().querySelectorAll("[data-error-of]")) {
    const wrong = !slot.hidden;
    for (const name of FIELDS_OF[slot.dataset.errorOf] ?? [slot.dataset.errorOf]) {
      const field = drawForm().querySelector(`[name="${name}"]:not([disabled], [type="hidden"])`);
      if (field === null) continue;
      if (wrong) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
      if (wrong && first === null) first = field;
    }
  }
  if (first === null) return;
  for (let fold = first.closest("details"); fold !== null; fold = fold.parentElement.closest("details")) fold.open = true;
  first.focus();
}

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.elt.id === "draw-form" && event.detail.xhr.status !== 0) showErrors();
});

// Another model: what was folded out stays so.

let openFolds = [];
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target?.id === "parameters") openFolds = [...document.querySelectorAll("#parameters details[open]")].map((it) => it.id);
});

// A form filled with what was used before: the words are where one goes on.
document.addEventListener("htmx:afterSettle", (event) => {
  const target = event.detail.target?.id;
  if (target === "parameters") for (const id of openFolds) if (id) byId(id).open = true;
  if (target === "draw-form" || target === "parameters") prepareForm();
  if (target === "draw-form") byId("prompt").focus();
});

prepareForm();
