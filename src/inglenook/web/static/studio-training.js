// SPDX-License-Identifier: Apache-2.0
// The page of the experiments: the list, the form of one, its buttons, and two or more side by side.
"use strict";

const experimentsApi = apiOf("training", "/experiments");
let runView = null;
let configForm = null;

// -- fragments: the list and the experiment that is open -----------------------------------------------------

async function fetchPart(path) {
  const answer = await fetch(path, { headers: { "hx-request": "true" } });
  if (!answer.ok) throw new Error(`The server refused this (status ${answer.status}).`);
  return parseFragment(await answer.text());
}

const workspaceNow = () => document.getElementById("training-experiment-workspace");

// A button and the news of a run ask for the same part at the same time, and their answers come in any order:
// one that was asked for before what is shown is dropped.
const turns = { workspace: { asked: 0, shown: 0 }, list: { asked: 0, shown: 0 } };

function isNewer(part, turn) {
  if (turn < turns[part].shown) return false;
  turns[part].shown = turn;
  return true;
}

async function swapWorkspace() {
  const turn = ++turns.workspace.asked;
  const fresh = await fetchPart(workspaceNow().dataset.api);
  if (!isNewer("workspace", turn)) return;
  const old = workspaceNow();
  runView?.close();
  const hadFocus = old.contains(document.activeElement);
  old.replaceWith(fresh);
  localTimes(fresh);
  openWorkspace();
  if (hadFocus) document.getElementById("experiment-title").focus();
}

async function swapList() {
  const turn = ++turns.list.asked;
  const chosen = workspaceNow()?.dataset.id;
  const { list } = document.getElementById("training-experiment-list").dataset;
  const fresh = await fetchPart(`${list}${chosen ? `?selected_experiment_id=${chosen}` : ""}`);
  if (!isNewer("list", turn)) return;
  const old = document.getElementById("training-experiment-list");
  const picked = comparedIds();
  const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
  old.replaceWith(fresh);
  for (const id of picked) {
    const box = document.getElementById(`pick-${id}`);
    if (box) box.checked = true;
  }
  countCompared();
  if (focus) document.getElementById(focus)?.focus();
}

// Others train too: the list looks after them while somebody looks at it.
setInterval(() => {
  const list = document.getElementById("training-experiment-list");
  if (list?.dataset.running !== undefined && !document.hidden) swapList().catch(() => {});
}, 5000);

function comparedIds() {
  return [...document.querySelectorAll("[data-compare]:checked")].map((it) => it.dataset.compare);
}

function countCompared() {
  const button = document.querySelector("[data-compare-chosen]");
  if (!button) return;
  const count = comparedIds().length;
  button.disabled = count < 2;
  button.textContent = count < 2 ? "Compare: choose two or more" : `Compare ${count}`;
}

// -- the form -------------------------------------------------------------------------------------------------

class ConfigForm {
  constructor(form, workspace) {
    Object.assign(this, { form, workspace, dirty: false });
    const section = form.querySelector("[data-steps-declared]");
    const icons = workspace.querySelector("template[data-step-icons]").content;
    const declared = JSON.parse(section.dataset.stepsDeclared);
    this.steps = [...form.querySelectorAll("[data-steps]")].map((host) => new StepList(host, declared, icons, () => this.changed()));
    form.addEventListener("input", () => this.changed());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.keep().catch(() => {});
    });
    form.addEventListener("click", (event) => this.press(event.target.closest("button")));
    this.fit();
  }

  changed() {
    this.dirty = true;
    this.workspace.querySelector("[data-act=keep]").disabled = false;
    this.fit();
  }

  // What counts for nothing now is out of the way; how many pictures a step learns from.
  fit() {
    for (const field of this.form.querySelectorAll("[data-when-field]")) {
      const [name, values] = field.dataset.whenField.split("=");
      const control = this.form.elements[name];
      const now = control.type === "checkbox" ? String(control.checked) : control.value;
      field.hidden = !values.split(" ").includes(now);
    }
    const weights = this.form.querySelector("[data-weights-words]");
    const words = JSON.parse(weights.dataset.weightsWords)[this.form.elements["model.backbone"].value][this.form.elements["model.pretrained"].value];
    if (weights.textContent !== words) weights.textContent = words;
    const number = (name) => Number(this.form.elements[`hyperparameters.${name}`].value) || 0;
    this.form.querySelector("[data-training-effective-batch]").textContent = number("batch_size") * number("batch_multiplier");
  }

  value() {
    const asked = { augmentations: {}, hardware: { selected_devices: [] } };
    for (const control of this.form.querySelectorAll("[name]")) {
      if (control.name.endsWith("[]")) {
        if (control.checked) asked.hardware.selected_devices.push(control.value);
        continue;
      }
      const [part, name] = control.name.split(".");
      if (name === undefined) asked[part] = control.value;
      else (asked[part] ??= {})[name] = this.valueOf(control);
    }
    for (const list of this.steps) asked.augmentations[list.part] = list.value();
    return asked;
  }

  valueOf(control) {
    const { kind } = control.dataset;
    if (kind === "switch") return control.checked;
    if (kind === "list") return control.value.split(/[,;\s]+/).filter(Boolean).map((it) => (Number.isNaN(Number(it)) ? it : Number(it)));
    if ((kind === "number" || kind === "whole") && control.value !== "") return Number(control.value);
    return control.value;
  }

  // True when the server has it.
  async keep() {
    clearFieldErrors(this.form);
    if (!looksRight(this.form, (it) => (it.dataset.param ? `augmentations.${it.closest("[data-steps]").dataset.steps}` : it.name))) return false;
    const kept = await sendForm(this.form, "PATCH", this.workspace.dataset.api, this.value());
    if (!kept) return false;
    this.dirty = false;
    this.workspace.querySelector("[data-act=keep]").disabled = true;
    return true;
  }

  press(button) {
    if (!button) return;
    if (button.dataset.preset) this.takePreset(button.dataset.preset, button.textContent).catch(() => {});
    else if (button.dataset.find) this.find(button).catch(() => {});
    else if ("preview" in button.dataset) this.preview(button).catch(() => {});
  }

  async takePreset(name, title) {
    const task = studioMain.dataset.task ?? "classification";
    const { presets } = await askStudio("GET", `/api/tasks/${task}`);
    this.fill(presets[name]);
    showToast(`All values are those of ${title}`);
  }

  fill(spec) {
    for (const control of this.form.querySelectorAll("[name]")) {
      const [part, name] = control.name.replace("[]", "").split(".");
      const value = spec[part]?.[name];
      if (name === undefined || value === undefined) continue;
      if (control.name.endsWith("[]")) control.checked = value.includes(control.value);
      else if (control.type === "checkbox") control.checked = value;
      else control.value = Array.isArray(value) ? value.join(", ") : (value ?? "");
    }
    for (const list of this.steps) list.fill(spec.augmentations[list.part], false);
    this.changed();
  }

  // A finder is a job; what it finds can be taken.
  async find(button) {
    if (!(await this.keep())) return;
    const place = this.form.querySelector("[data-found]");
    const buttons = [...this.form.querySelectorAll("[data-find]")];
    for (const one of buttons) one.disabled = true;
    place.textContent = "Looking…";
    const over = (words) => {
      place.textContent = words;
      for (const one of buttons) one.disabled = false;
    };
    try {
      const { job_id } = await askStudio("POST", `${this.workspace.dataset.api}/find-${button.dataset.find}`);
      watchJob(job_id, {
        progress: (said) => (place.textContent = `Looking… ${Math.round(said.progress * 100)} %`),
        ended: async () => {
          const job = await askApi("GET", `/v1/jobs/${job_id}`);
          over(job.error?.message ?? "");
          if (job.state === "succeeded") this.found(place, job.result);
        },
      });
    } catch (error) {
      over(error.message);
    }
  }

  found(place, said) {
    const rate = said.what === "learning_rate";
    const value = said.suggested;
    if (value === null || value === undefined) {
      place.textContent = said.reason || "Nothing could be suggested.";
      return;
    }
    const words = document.createElement("p");
    words.append(`${rate ? "Learning rate" : "Batch size"} ${shortNumber(value)} is suggested. `);
    const take = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: "Take it" });
    take.addEventListener("click", () => {
      this.form.elements[`hyperparameters.${said.what}`].value = value;
      this.changed();
      take.remove();
    });
    words.append(take);
    place.replaceChildren(words, ...(rate ? [rateCurve(said.points)] : []));
    for (const figure of place.querySelectorAll("figure")) drawChart(figure, figure.chart);
  }

  async preview(button) {
    const words = this.form.querySelector("[data-preview-words]");
    button.disabled = true;
    words.textContent = "Looking…";
    try {
      const { augmentations } = this.value();
      const { pictures, notes } = await askStudio("POST", `${this.workspace.dataset.api}/preview?pictures=3&epochs=4`, { augmentations });
      words.textContent = (notes ?? []).join(" ") || "The first as it is looked at, the others as four epochs see it.";
      this.form.querySelector("[data-previews]").replaceChildren(...pictures.map((one, at) => this.previewRow(one, at)));
    } catch (error) {
      words.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }

  previewRow(one, at) {
    const row = Object.assign(document.createElement("div"), { className: "preview-row" });
    for (const [number, source] of [one.val, ...one.epochs].entries()) {
      const alt = number === 0 ? `Picture ${at + 1} as it is looked at` : `Picture ${at + 1} in epoch ${number}`;
      row.append(Object.assign(document.createElement("img"), { src: source, alt, width: 96, height: 96 }));
    }
    return row;
  }
}

// How the loss fell while the rate rose.
function rateCurve(points) {
  const figure = Object.assign(document.createElement("figure"), { className: "chart" });
  figure.dataset.chart = "found";
  const of = (name) => points.map((it) => [Math.log10(it.learning_rate), it[name]]);
  figure.chart = { title: "Loss while the rate rises", series: [{ name: "loss", points: of("loss") }, { name: "smoothed", points: of("smoothed") }], xTitle: "log10 of the rate", wholeX: false };
  return figure;
}

// -- the buttons of an experiment -----------------------------------------------------------------------------

const ACTS = {
  async keep() {
    if (await configForm.keep()) showToast("Kept");
  },
  async train() {
    if (configForm && !(await configForm.keep())) return;
    await askStudio("POST", `${workspaceNow().dataset.api}/train`);
    await swapWorkspace();
    swapList();
  },
  async stop() {
    await askStudio("POST", `${workspaceNow().dataset.api}/stop`);
    await swapWorkspace();
    swapList();
  },
  async resume() {
    await askStudio("POST", `${workspaceNow().dataset.api}/resume`);
    await swapWorkspace();
    swapList();
  },
  async restart(button) {
    const { name, api } = workspaceNow().dataset;
    if (!(await askSure(`Restart ${name}? What goes for good: ${button.dataset.goes}. Its configuration stays.`, "Restart"))) return;
    await askStudio("POST", `${api}/restart`);
    await swapWorkspace();
    swapList();
  },
  async duplicate() {
    const made = await askStudio("POST", `${workspaceNow().dataset.api}/duplicate`, {});
    location.href = `?experiment_id=${made.id}`;
  },
  async delete(button) {
    const { name, api } = workspaceNow().dataset;
    if (!(await askSure(`Delete ${name} for good? What goes: ${button.dataset.goes}. It cannot be taken back.`))) return;
    await askStudio("DELETE", api);
    location.href = location.pathname;
  },
  async rename() {
    showExperimentRename(true);
  },
};

function showExperimentRename(on) {
  const form = document.querySelector("[data-rename-experiment]");
  form.hidden = !on;
  if (on) form.elements.name.select();
  else document.querySelector("[data-act=rename]").focus();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.act) {
    button.disabled = true;
    try {
      await ACTS[button.dataset.act](button);
    } catch {
      // It has been told where it was asked.
    }
    if (button.dataset.act !== "keep" || configForm?.dirty) button.disabled = false;
  } else if ("renameExperimentAway" in button.dataset) showExperimentRename(false);
  else if ("compareChosen" in button.dataset) location.href = `?compare=${comparedIds().join(",")}`;
});

document.addEventListener("change", (event) => {
  if (event.target.dataset?.compare) countCompared();
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.matches("[data-new-experiment]")) {
    event.preventDefault();
    const sent = Object.fromEntries(new FormData(form));
    if (!sent.name.trim()) delete sent.name;
    const made = await askStudio("POST", experimentsApi, sent).catch(() => null);
    if (made) location.href = `?experiment_id=${made.id}`;
    else form.closest("dialog").close();
  } else if (form.matches("[data-rename-experiment]")) {
    event.preventDefault();
    const done = await askStudio("PATCH", workspaceNow().dataset.api, { name: form.elements.name.value }).catch(() => null);
    if (!done) return;
    await swapWorkspace();
    swapList();
    document.querySelector("[data-act=rename]").focus();
  }
});

window.addEventListener("beforeunload", (event) => configForm?.dirty && event.preventDefault());

// -- side by side -----------------------------------------------------------------------------------------------

async function openComparison(workspace) {
  const names = JSON.parse(workspace.dataset.names);
  const { curves } = await askStudio("GET", workspace.dataset.comparison);
  const measures = Object.keys(curves).filter((it) => !/_(low|high)$/.test(it)); // the ends of intervals
  const choice = workspace.querySelector("[data-measure]");
  choice.replaceChildren(...measures.map((it) => new Option(it.replaceAll("_", " "), it)));
  if (measures.includes("val_accuracy")) choice.value = "val_accuracy";
  const draw = () => {
    const of = curves[choice.value] ?? {};
    const series = Object.entries(of).map(([id, points]) => ({ name: names[id] ?? id, points }));
    drawChart(workspace.querySelector("[data-chart=compared]"), { title: choice.selectedOptions[0]?.text ?? "Curves", series });
  };
  choice.addEventListener("change", draw);
  watchRoom(workspace);
  draw();
}

function openWorkspace() {
  const workspace = workspaceNow();
  const form = workspace?.querySelector("[data-config]");
  configForm = form ? new ConfigForm(form, workspace) : null;
  runView = workspace?.querySelector("[data-run]") ? new RunView(workspace, () => {
    swapWorkspace().catch(() => {});
    swapList().catch(() => {});
  }) : null;
  if (workspace?.dataset.comparison) openComparison(workspace).catch(() => {});
}

countCompared();
openWorkspace();
