// SPDX-License-Identifier: Apache-2.0
// With what it is drawn: words to begin with, the model, LoRAs that fit it, the engine and what that one can do.
"use strict";

const modelFacts = () => byId("model").selectedOptions[0].dataset; // id, family, plain, masks; empty where nothing draws
const loraRows = () => [...document.querySelectorAll("#loras .lora")];
const engineRows = () => [...document.querySelectorAll("#engine-facts [data-engine]")];

// -- words of a preset: they stand in the field, where they are seen and changed

let ownWords = ""; // what was typed, for whoever comes back from a preset

function presetWords() {
  const { prompt, plain } = byId("preset").selectedOptions[0].dataset;
  return modelFacts().plain === undefined ? prompt : plain;
}

function takePreset() {
  byId("prompt").value = byId("preset").value === "" ? ownWords : presetWords();
  keepForm();
}

byId("preset").addEventListener("change", takePreset);
byId("prompt").addEventListener("input", () => {
  byId("preset").value = "";
  ownWords = byId("prompt").value;
});
if (byId("preset").value === "") ownWords = byId("prompt").value;

// -- LoRAs

// As a request names them.
function chosenLoras() {
  const rows = loraRows().filter((row) => row.querySelector("select").value !== "");
  return rows.map((row) => ({ model: row.querySelector("select").value, weight: weightOf(row) }));
}

function weightOf(row) {
  const field = row.querySelector('[type="number"]');
  if (field.validity.badInput) throw new Refused({ message: "The weight of a LoRA is a number.", param: "loras" });
  return field.value === "" ? 1 : Number(field.value);
}

function fitsModel({ value, dataset }) {
  const { family } = modelFacts();
  return value === "" || !dataset.families || !family || dataset.families.split(" ").includes(family);
}

function fitLoras() {
  const gone = [];
  for (const row of loraRows()) {
    const field = row.querySelector("select");
    for (const option of field.options) option.hidden = option.disabled = !fitsModel(option);
    if (!field.selectedOptions[0].disabled) continue;
    gone.push(field.selectedOptions[0].textContent);
    field.value = "";
  }
  if (gone.length > 0) announce(`${gone.join(", ")} ${gone.length === 1 ? "does" : "do"} not go with this model`);
  tellLoras();
}

function tellLoras() {
  const some = [...loraRows()[0].querySelector("select").options].some((option) => option.value !== "" && !option.disabled);
  const known = loraRows().map((row) => row.querySelector("select").selectedOptions[0]?.dataset.about ?? "");
  byId("loras").hidden = byId("lora-add").hidden = !some;
  byId("lora-add").disabled = loraRows().length >= Number(byId("loras").dataset.most);
  byId("lora-about").textContent = some ? [...new Set(known)].filter(Boolean).join(" ") : "No LoRA in your folders fits this model.";
}

function keepLoras() {
  keepForm({ loras: loraRows().map((row) => ({ model: row.querySelector("select").value, weight: row.querySelector('[type="number"]').value })) });
}

function restoreLoras() {
  const known = new Set([...loraRows()[0].querySelector("select").options].map((option) => option.value));
  const kept = (Array.isArray(readKept().loras) ? readKept().loras : []).filter((one) => one.model !== "" && known.has(one.model));
  for (const [at, { model, weight }] of kept.entries()) {
    const row = at === 0 ? loraRows()[0] : addLora();
    row.querySelector("select").value = model;
    setLoraWeight(row, String(weight ?? ""));
  }
}

// -- engines

function whyNot({ dataset }) {
  const { id } = modelFacts();
  if (id !== undefined && !JSON.parse(dataset.models).includes(id)) {
    return dataset.convert === "" ? `It cannot draw with ${id}.` : `It cannot draw with ${id} yet: ${dataset.convert.replace("MODEL", id)}`;
  }
  if (dataset.masks === undefined && ["mask", "tile"].includes(overMode())) return "It does not draw inside a mask.";
  if (dataset.loras === undefined && chosenLoras().length > 0) return "It applies no LoRAs.";
  return "";
}

function fitEngines() {
  for (const row of engineRows()) {
    if (row.dataset.available === undefined) continue;
    const why = whyNot(row);
    const option = byId("engine").querySelector(`option[value="${row.dataset.engine}"]`);
    row.querySelector(".why-not").textContent = why === "" ? "" : ` ${why}`;
    option.disabled = why !== "";
    if (option.disabled && option.selected) {
      byId("engine").value = "";
      announce(`${option.textContent}: ${why}`);
    }
  }
}

byId("model").addEventListener("change", () => {
  if (byId("preset").value !== "") byId("prompt").value = presetWords();
  fitLoras();
});
for (const kind of ["input", "change"]) {
  byId("loras").addEventListener(kind, () => {
    tellLoras();
    keepLoras();
  });
}
byId("lora-add").addEventListener("click", tellLoras);
makeForm.addEventListener("change", fitEngines);

restoreLoras();
fitLoras();
fitEngines();
