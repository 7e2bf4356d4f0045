// SPDX-License-Identifier: Apache-2.0
// Exports: order one, watch it, put it into the library, try it on pictures.
"use strict";

const STAGES = {
  load: "Reading the checkpoint", trace: "Writing the network down", quantise: "Quantising",
  check: "Comparing it with the checkpoint", measure: "Measuring its accuracy",
};

const exportRecord = () => document.getElementById("export-record");

async function swapRecord() {
  const old = exportRecord();
  const answer = await fetch(old.dataset.api, { headers: { "hx-request": "true" } });
  const fresh = parseFragment(await answer.text());
  const hadFocus = old.contains(document.activeElement);
  old.replaceWith(fresh);
  localTimes(fresh);
  if (hadFocus) document.getElementById("export-title").focus();
  openRecord();
  const list = await fetch(apiOf("export", `?export_id=${fresh.dataset.api.split("/").pop()}`), { headers: { "hx-request": "true" } });
  document.getElementById("export-list").replaceWith(parseFragment(await list.text()));
}

function openRecord() {
  const record = exportRecord();
  if (record && ["pending", "running"].includes(record.dataset.status) && record.dataset.job) watchExport(record);
}

function watchExport(record) {
  const words = record.querySelector("[data-export-words]");
  const source = watchJob(record.dataset.job, {
    progress: (said) => {
      record.querySelector("[data-export-bar]").value = said.progress;
      words.textContent = `${STAGES[said.stage] ?? "At work"}…`;
    },
    ended: () => swapRecord().catch(() => {}),
  });
  source.addEventListener("wait", (event) => {
    const reason = JSON.parse(event.data).reason?.text;
    if (reason) words.textContent = `Waiting: ${reason}.`;
  });
}

// -- a new one --------------------------------------------------------------------------------------------------

const newExport = document.querySelector("[data-new-export]");

function fitExport() {
  const { quantized, format, checkpoints } = {
    quantized: newExport.elements["options.quantization"].value,
    format: newExport.elements.format.value,
    checkpoints: newExport.elements.experiment_id.selectedOptions[0].dataset.checkpoints.split(" "),
  };
  for (const field of newExport.querySelectorAll("[data-quantised]")) field.hidden = !field.dataset.quantised.split(" ").includes(quantized);
  for (const field of newExport.querySelectorAll("[data-onnx]")) field.hidden = format !== "onnx";
  for (const option of newExport.elements.checkpoint.options) option.disabled = !checkpoints.includes(option.value);
  if (newExport.elements.checkpoint.selectedOptions[0]?.disabled) newExport.elements.checkpoint.value = checkpoints[0];
}

function exportOrder() {
  const fields = newExport.elements;
  const options = {};
  for (const control of fields) {
    if (!control.name?.startsWith("options.") || control.closest("[hidden]")) continue;
    const name = control.name.slice("options.".length);
    options[name] = control.type === "checkbox" ? control.checked : control.type === "number" ? Number(control.value) : control.value;
  }
  const [height, width] = [fields.height.value || fields.width.value, fields.width.value || fields.height.value];
  if (height) options.input_shape = [1, 3, Number(height), Number(width)];
  if (!fields.dynamic_batch.checked) options.dynamic_axes = null;
  return { experiment_id: fields.experiment_id.value, checkpoint: fields.checkpoint.value, format: fields.format.value, options };
}

if (newExport) {
  document.querySelector("dialog[data-open-now]")?.showModal();
  fitExport();
  newExport.addEventListener("change", fitExport);
  newExport.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearFieldErrors(newExport);
    if (!looksRight(newExport, (it) => (["height", "width"].includes(it.name) ? "options.input_shape" : it.name))) return;
    const made = await sendForm(newExport, "POST", apiOf("export", "?wait=false"), exportOrder());
    if (made) location.href = `?export_id=${made.export.id}`;
  });
}

// -- the library, and deleting ------------------------------------------------------------------------------------

document.addEventListener("submit", async (event) => {
  if (!event.target.matches("[data-register]")) return;
  event.preventDefault();
  const form = event.target;
  const done = await sendForm(form, "POST", `${exportRecord().dataset.api}/register`, { name: form.elements.name.value });
  if (!done) return;
  await swapRecord();
  showToast(`${done.registered.model} is in the library`);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  const record = exportRecord();
  if (!button || !record) return;
  if ("unregister" in button.dataset) {
    if (!(await askSure(`Take ${record.dataset.model} out of the library? Nobody can ask it then. The export stays.`, "Take it out"))) return;
    if (await askStudio("DELETE", `${record.dataset.api}/register`).catch(() => null)) await swapRecord();
  } else if ("exportDelete" in button.dataset) {
    const stays = record.dataset.model ? ` Its copy in the library, ${record.dataset.model}, stays.` : "";
    if (!(await askSure(`Delete this export of ${record.dataset.name} for good?${stays}`))) return;
    if (await askStudio("DELETE", record.dataset.api).catch(() => null)) location.href = location.pathname;
  }
});

// -- try it ----------------------------------------------------------------------------------------------------------

async function tryPictures(files) {
  const pictures = [...files].filter((file) => file.type === "" || file.type.startsWith("image/"));
  const words = document.querySelector("[data-try-words]");
  if (pictures.length === 0) {
    words.textContent = "These are no pictures.";
    return;
  }
  words.textContent = `Asking about ${countWords(pictures.length, "picture", "pictures")}…`;
  const body = new FormData();
  for (const file of pictures) body.append("image", file, file.name);
  body.append("model", exportRecord().dataset.model);
  body.append("top_k", "5");
  try {
    const said = await askApi("POST", "/v1/vision/predict", body);
    words.textContent = `${countWords(pictures.length, "answer", "answers")} in ${said.seconds.toFixed(2)} s`;
    const list = document.querySelector("[data-tried]");
    list.prepend(...said.data.map((one) => triedItem(pictures[one.index], one)));
  } catch (error) {
    words.textContent = error.message;
  }
}

function triedItem(file, { predictions }) {
  const item = document.createElement("li");
  const source = URL.createObjectURL(file);
  const picture = Object.assign(document.createElement("img"), { src: source, alt: file.name, width: 128, height: 128 });
  picture.addEventListener("load", () => URL.revokeObjectURL(source), { once: true });
  const list = document.createElement("ol");
  for (const { label, score } of predictions) list.append(scoreBar(label, score));
  item.append(picture, list);
  return item;
}

function scoreBar(label, score) {
  const row = document.createElement("li");
  const bar = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: score });
  bar.setAttribute("aria-label", label);
  const name = Object.assign(document.createElement("span"), { textContent: label });
  const number = Object.assign(document.createElement("span"), { className: "n", textContent: `${(score * 100).toFixed(1)} %` });
  row.append(name, bar, number);
  return row;
}

document.addEventListener("change", (event) => {
  if (event.target.id !== "try-files") return;
  tryPictures(event.target.files);
  event.target.value = "";
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    const place = event.target.closest?.("[data-drop]");
    if (!place || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    place.classList.toggle("is-over", name === "dragenter" || name === "dragover");
    if (name === "drop") tryPictures(event.dataTransfer.files);
  });
}

openRecord();
