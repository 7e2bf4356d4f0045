// SPDX-License-Identifier: Apache-2.0
// Who answers, and how: the model and how it stands, system prompts, parameters, tools. Kept with the conversation.
"use strict";

const modelField = byId("talk-model");
const chosen = () => modelField.selectedOptions[0] ?? null;

// How the models stand, from the stream.
function showModels(states) {
  for (const option of modelField.options) {
    const now = states[option.value];
    if (now === undefined) continue;
    if (option.textContent !== now.option) option.textContent = now.option;
    option.dataset.standing = now.standing;
    option.dataset.words = now.words;
  }
  showModel();
}

function showModel() {
  const option = chosen();
  const line = byId("model-line");
  const text = option === null ? "no model" : option.dataset.words;
  if (line.dataset.words === text) return;
  line.dataset.words = text;
  const dot = document.createElement("span");
  dot.className = `dot dot-${option?.dataset.standing ?? "problem"}`;
  line.replaceChildren(dot, text);
}

// What the fields stand for while they are empty: what is set for the model.
function showDefaults() {
  const defaults = chosen() === null ? {} : JSON.parse(chosen().dataset.defaults);
  for (const field of document.querySelectorAll("#settings input[type=number]")) {
    const own = defaults[field.dataset.setting];
    field.placeholder = own === undefined ? "model's own" : String(own);
  }
  const context = Number(chosen()?.dataset.context ?? 0);
  if (context > 0) byId("set-context").placeholder = `up to ${context}`;
  byId("system").placeholder = defaults.system || "the model's own";
}

const toolBoxes = () => [...document.querySelectorAll("#settings [data-tool]")];
const mayEdit = () => toolBoxes().some((box) => box.checked && box.dataset.tool === "edit_image");
const takesPictures = () => chosen()?.dataset.sees === "yes" || mayEdit();

// The settings as the API takes them; null where a field is not valid, which then has the focus.
function settingsNow() {
  const parameters = {};
  for (const field of document.querySelectorAll("#settings input[type=number]")) {
    if (!field.checkValidity()) {
      refuseSetting(field, field.validationMessage);
      return null;
    }
    if (field.value !== "") parameters[field.dataset.setting] = Number(field.value);
  }
  const stops = byId("set-stop").value.split(",").map((it) => it.trim()).filter(Boolean);
  if (stops.length > 0) parameters.stop = stops;
  if (document.querySelector("[data-setting=json_mode]").checked) parameters.json_mode = true;
  const tools = toolBoxes().filter((box) => box.checked).map((box) => box.dataset.tool);
  if (tools.length > 0) parameters.tools = tools;
  refuseSetting(null, "");
  return { model: modelField.value, system: byId("system").value, parameters };
}

function refuseSetting(field, text) {
  for (const other of document.querySelectorAll("#settings [aria-invalid]")) other.removeAttribute("aria-invalid");
  const place = byId("settings-problem");
  place.textContent = text;
  place.hidden = text === "";
  if (field === null) return;
  openSettings(true);
  field.setAttribute("aria-invalid", "true");
  field.focus();
}

let keeping = Promise.resolve(); // one after the other: of two changes the later one counts

function keepSettings() {
  const settings = settingsNow();
  if (settings === null || !talk.id) return;
  const path = conversationPath();
  keeping = keeping.then(() => api("PATCH", path, settings)).catch((error) => refuseSetting(null, words(error)));
}

function openSettings(open) {
  byId("settings").hidden = !open;
  document.querySelector("[data-settings]").setAttribute("aria-expanded", String(open));
}

modelField.addEventListener("change", () => {
  showModel();
  showDefaults();
  keepSettings();
});
byId("settings").addEventListener("change", (event) => {
  if (event.target.id === "preset") usePreset();
  else if (event.target.id !== "preset-name") keepSettings();
});

// -- system prompts under a name

function usePreset() {
  const option = byId("preset").selectedOptions[0];
  document.querySelector("[data-preset-delete]").disabled = option.value === "";
  if (option.value === "") return;
  byId("system").value = option.dataset.text;
  byId("preset-name").value = option.textContent;
  keepSettings();
  announce(`The system prompt is ${option.textContent}`);
}

async function keepPreset() {
  const body = { name: byId("preset-name").value, text: byId("system").value };
  try {
    const kept = await api("POST", "/v1/presets", body);
    const list = byId("preset");
    const option = [...list.options].find((it) => it.value === kept.id) ?? new Option(kept.name, kept.id);
    option.dataset.text = kept.text;
    list.append(option);
    list.value = kept.id;
    document.querySelector("[data-preset-delete]").disabled = false;
    refuseSetting(null, "");
    announce(`Kept as ${kept.name}`);
  } catch (error) {
    refuseSetting(null, words(error));
  }
}

async function forgetPreset() {
  const option = byId("preset").selectedOptions[0];
  if ((await attempt(() => api("DELETE", `/v1/presets/${option.value}`))) === undefined) return;
  option.remove();
  byId("preset").value = "";
  usePreset();
  announce("The prompt is forgotten");
}

byId("preset-name").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault(); // it would send the message
  keepPreset();
});
byId("settings").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.tagName === "INPUT" && event.target.id !== "preset-name") {
    event.preventDefault();
    keepSettings();
  }
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-settings]")) openSettings(byId("settings").hidden);
  if (event.target.closest("[data-preset-keep]")) keepPreset();
  if (event.target.closest("[data-preset-delete]")) forgetPreset();
});

showModel();
showDefaults();
