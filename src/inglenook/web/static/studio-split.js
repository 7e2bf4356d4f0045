// SPDX-License-Identifier: Apache-2.0
// A new split: shares that are linked, fields by method, a preview from the server; and the deleting of one.
"use strict";

const splitForm = document.getElementById("split-form");
const splitBox = document.getElementById("new-split");
const splitError = document.getElementById("split-error");
const previewPlace = document.getElementById("split-preview");
const PREVIEW_AFTER_MS = 250;
const PARTS = ["train", "val", "test"];
let previewTimer = 0;
let previewAsked = 0;

const method = () => splitForm.querySelector('[name="method"]:checked').value;
const ratioField = (name) => document.getElementById(`split-ratio-${name}`);
const ratioOf = (name) => Math.max(0, Math.min(100, Math.round(Number(ratioField(name).value) || 0)));

function setRatio(name, value) {
  for (const input of splitForm.querySelectorAll(`[data-ratio="${name}"] input`)) input.value = value;
}

// One share is set; the others take or give what is missing to 100, by their own sizes.
function linkRatios(changed) {
  const value = ratioOf(changed);
  const others = PARTS.filter((name) => name !== changed);
  const rest = 100 - value;
  const sum = ratioOf(others[0]) + ratioOf(others[1]);
  const first = sum === 0 ? Math.round(rest / 2) : Math.round((rest * ratioOf(others[0])) / sum);
  setRatio(changed, value);
  setRatio(others[0], first);
  setRatio(others[1], rest - first);
}

function showFields() {
  for (const part of splitForm.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(method());
  const usual = splitForm.querySelector("[data-usual-group]");
  if (method() === "grouped" && splitForm.querySelector('[name="group_by"]:checked') === null) usual.checked = true;
}

// Each line of the list: a file's name, a comma or tab, a part.
function assignments() {
  const words = { validation: "val", valid: "val" };
  const found = {};
  for (const line of document.getElementById("split-list").value.split("\n")) {
    if (line.trim() === "") continue;
    const cut = Math.max(line.lastIndexOf(","), line.lastIndexOf("\t"), line.lastIndexOf(";"));
    const name = line.slice(0, cut).trim();
    const part = line.slice(cut + 1).trim().toLowerCase();
    if (cut < 1 || name === "") throw new Error(`“${line.trim().slice(0, 60)}” is no line of a file's name and a part.`);
    found[name] = words[part] ?? part;
  }
  return found;
}

function plan() {
  const asked = { method: method(), name: document.getElementById("split-name").value.trim(), options: {} };
  if (asked.method === "manual") {
    asked.options = { from_folders: document.getElementById("split-folders").checked, rest: document.getElementById("split-rest").value };
    const given = assignments();
    if (Object.keys(given).length > 0) asked.options.assignments = given;
    return asked;
  }
  asked.ratios = Object.fromEntries(PARTS.map((name) => [name, ratioOf(name) / 100]));
  if (asked.method !== "time") asked.seed = Number(document.getElementById("split-seed-input").value) || 0;
  if (asked.method === "kfold") asked.options.folds = Number(document.getElementById("split-folds").value);
  if (asked.method === "grouped" || asked.method === "kfold") {
    asked.options.group_by = [...splitForm.querySelectorAll('[name="group_by"]:checked')].map((box) => box.value);
  }
  return asked;
}

function showSplitError(text) {
  splitError.hidden = text === "";
  splitError.textContent = text;
}

// The fragment that the API answers with. Throws an Error whose words are for people.
async function askFragment(path, body, way = "POST") {
  let answer;
  try {
    answer = await fetch(apiOf("splits", path), {
      method: way,
      headers: { "content-type": "application/json", "hx-request": "true" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    lostConnection();
    throw new Error("The server did not answer; try again when it is back.");
  }
  foundConnection();
  const text = await answer.text();
  if (!answer.ok) throw new Error(toastText(text) ?? `The server refused this (status ${answer.status}).`);
  return parseFragment(text);
}

async function preview() {
  const mine = ++previewAsked;
  const open = [...previewPlace.querySelectorAll("details")].map((it) => it.open);
  try {
    const fresh = await askFragment("/preview", plan());
    if (mine !== previewAsked) return;
    previewPlace.replaceChildren(fresh);
    previewPlace.querySelectorAll("details").forEach((it, place) => (it.open = open[place] ?? false));
    showSplitError("");
  } catch (error) {
    if (mine !== previewAsked) return;
    previewPlace.replaceChildren();
    showSplitError(error.message);
  }
}

function previewSoon() {
  clearTimeout(previewTimer);
  previewTimer = setTimeout(preview, PREVIEW_AFTER_MS);
}

splitForm.addEventListener("input", (event) => {
  const ratio = event.target.closest("[data-ratio]");
  if (ratio !== null && (event.target.type === "range" || event.target.value !== "")) {
    ratioField(ratio.dataset.ratio).value = event.target.value;
    linkRatios(ratio.dataset.ratio);
  }
  showFields();
  previewSoon();
});

splitForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = splitForm.querySelector('[type="submit"]');
  button.disabled = true;
  try {
    showGrid(await askFragment("", plan()));
    splitBox.close();
    splitForm.reset();
    document.getElementById("split-name").value = `split ${document.querySelectorAll("[data-split]").length + 1}`;
    showToast("The split was made.");
    document.querySelector("#split-grid h2")?.scrollIntoView({ block: "nearest" });
  } catch (error) {
    showSplitError(error.message);
  } finally {
    button.disabled = false;
  }
});

function showGrid(fresh) {
  document.getElementById("split-grid").replaceWith(fresh);
  localTimes(fresh);
}

document.addEventListener("click", (event) => {
  if (event.target.closest('[data-opens="new-split"]')) {
    showFields();
    preview();
  }
  const button = event.target.closest("[data-delete-split]");
  if (button !== null) deleteSplit(button.closest("[data-split]"));
});

async function deleteSplit(card) {
  const { split: name, users } = card.dataset;
  const words = users === "" ? "No experiment uses it." : `These experiments were made with it: ${users}. They keep their results, but no new one can be made with it.`;
  if (!(await askSure(`Delete the split ${name}? ${words} It cannot be taken back.`))) return;
  try {
    showGrid(await askFragment(`/${encodeURIComponent(card.id)}`, undefined, "DELETE"));
    showToast(`The split ${name} was deleted.`);
  } catch (error) {
    tellTrouble(error.message);
  }
}
