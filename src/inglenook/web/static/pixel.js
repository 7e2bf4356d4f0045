// SPDX-License-Identifier: Apache-2.0
// What the parts of the Pixels page share: asking the server, errors at the field they name, the form that is kept.
"use strict";

const KEPT_FORM = "inglenook-pixels";
const SILENT = "The server did not answer. Everything is still here; it goes on when the server is back.";

const byId = (id) => document.getElementById(id);
const iconOf = (name) => byId(`icon-${name}`).content.firstElementChild.cloneNode(true);

function element(name, fields = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(fields)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...inside);
  return made;
}

// What the server refuses, in its words.
class Refused extends Error {
  constructor(problem, status) {
    super(problem?.message ?? `The server refused this (status ${status}).`);
    this.field = (problem?.param ?? "").replace(/^(recipe|spec)\./, ""); // the controls have no such nesting
  }
}

// The answer. Raises Refused; TypeError where there is no answer; AbortError where `signal` ended it.
async function ask(method, path, { body, signal } = {}) {
  const options = { method, signal, headers: {} };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  foundConnection();
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  throw new Refused(told?.error, answer.status);
}

const askJson = async (...asked) => (await ask(...asked)).json();

// Errors: one line at the control that they name.

const PLACES = { base_height: "base_width", seed: "seed" };

function placeOf(field, fallback) {
  const parts = field.split(".");
  const name = PLACES[parts[0]] ?? parts[0];
  return byId(`error-${name}`) ?? byId(`error-${fallback}`);
}

function tellError(error, fallback, renamed = {}) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Refused)) {
    if (!(error instanceof TypeError)) throw error;
    lostConnection();
  }
  const field = error instanceof Refused ? (renamed[error.field.split(".")[0]] ?? error.field) : "";
  const place = placeOf(field, fallback);
  const words = error instanceof Refused ? error.message : SILENT; // the message has the hint in it
  place.replaceChildren(iconOf("warn"), element("span", { textContent: words }));
  place.hidden = false;
  for (let fold = place.closest("details"); fold !== null; fold = fold.parentElement.closest("details")) fold.open = true;
  byId(place.dataset.errorOf)?.setAttribute("aria-invalid", "true");
  announce(words);
}

function clearErrors(root) {
  for (const place of root.querySelectorAll("[data-error-of]:not([hidden])")) {
    place.hidden = true;
    place.replaceChildren();
    byId(place.dataset.errorOf)?.removeAttribute("aria-invalid");
  }
}

// The value of a control as the server takes it; undefined for one that is left to the server.
function valueOf(field) {
  switch (field.dataset.kind) {
    case "check":
      return field.checked;
    case "number":
      if (field.value === "") return field.validity.badInput ? "?" : undefined;
      return Number(field.value);
    case "optional-color":
      return byId(`${field.id}-auto`).checked ? undefined : field.value;
    default:
      return field.value === "" ? undefined : field.value;
  }
}

const makeForm = byId("make-form");

// A field of the drawing form, as `valueOf`.
const made = (name) => valueOf(byId(name));

// The form is kept in this browser, and filled again after a reload.

const keptFields = () => document.querySelectorAll("#make-form [id], #recipe-form [id][name], #file-form input, #file-form select, #frame_ms, #zoom");

const isField = (field) => field.matches("input:not([type=file]), select, textarea");

function readKept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT_FORM)) ?? {};
  } catch {
    return {}; // storage is forbidden, or holds something else
  }
}

function keepForm(more = {}) {
  const fields = {};
  for (const field of keptFields()) if (isField(field)) fields[field.id] = field.type === "checkbox" ? field.checked : field.value;
  try {
    localStorage.setItem(KEPT_FORM, JSON.stringify({ ...readKept(), fields, ...more }));
  } catch {
    // storage is forbidden or full: the form lives as long as the page
  }
}

function fillForm(fields) {
  for (const [id, value] of Object.entries(fields)) {
    const field = byId(id);
    if (field === null || !isField(field)) continue;
    if (field.type === "checkbox") field.checked = value === true;
    else if (field.tagName !== "SELECT" || [...field.options].some((one) => one.value === value && !one.disabled)) field.value = value;
  }
  showNumbers();
}

function showNumbers() {
  for (const output of document.querySelectorAll("output[for]")) output.textContent = String(Number(byId(output.htmlFor.value).value));
}

const FIRST_FIELDS = {};
for (const field of keptFields()) if (isField(field)) FIRST_FIELDS[field.id] = field.type === "checkbox" ? field.checked : field.value;
fillForm(readKept().fields ?? {});

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-kind='optional-color']")) byId(`${event.target.id}-auto`).checked = false;
  showNumbers();
});
for (const kind of ["input", "change"]) document.addEventListener(kind, () => keepForm());

// Dialogs
document.addEventListener("click", (event) => {
  if (event.target.closest("dialog [data-close]")) event.target.closest("dialog").close();
  else if (event.target instanceof HTMLDialogElement && event.target.id !== "mask-editor") event.target.close(); // a mask is work
});
