// SPDX-License-Identifier: Apache-2.0
// The steps of an augmentation: an ordered list whose rows are added, removed, moved and filled in.
"use strict";

// [0.8, 1] as a person writes it, and back. One number alone stays a number.
function numbersText(value) {
  return Array.isArray(value) ? value.join(", ") : String(value ?? "");
}

function numbersOf(text) {
  const parts = text.split(/[,;\s]+/).filter(Boolean).map(Number);
  if (parts.length === 0) return null;
  if (parts.some(Number.isNaN)) return text.trim();
  return parts.length === 1 && !/[,;[\]]/.test(text) ? parts[0] : parts;
}

class StepList {
  // `declared`: [{name, title, params}], as web/studio/steps.py tells.
  constructor(host, declared, icons, changed) {
    Object.assign(this, { host, icons, changed, part: host.dataset.steps });
    this.declared = new Map(declared.map((one) => [one.name, one]));
    this.rows = host.querySelector("[data-step-rows]");
    for (const one of declared) host.querySelector("[data-step-choice]").append(new Option(one.title, one.name));
    host.querySelector("[data-step-add]").addEventListener("click", () => this.add(host.querySelector("[data-step-choice]").value));
    host.querySelector("[data-steps-reset]").addEventListener("click", () => {
      this.fill(JSON.parse(host.dataset.start));
      this.tell("The steps are as recommended again");
    });
    this.rows.addEventListener("click", (event) => this.press(event.target.closest("button")));
    this.fill(JSON.parse(host.dataset.value), false);
  }

  fill(steps, tell = true) {
    this.rows.replaceChildren(...steps.map((step) => this.row(step)));
    this.name();
    if (tell) this.changed();
  }

  tell(words) {
    announce(words);
    this.changed();
  }

  add(name) {
    const declared = this.declared.get(name);
    const params = Object.fromEntries(declared.params.filter((it) => it.start !== null).map((it) => [it.name, it.start]));
    const row = this.row({ name, params });
    this.rows.append(row);
    this.name();
    (row.querySelector(".step-fields input, .step-fields select") ?? row.querySelector("button")).focus();
    this.tell(`${declared.title} was added at the end`);
  }

  press(button) {
    if (!button) return;
    const row = button.closest("li");
    const title = row.querySelector("strong").textContent;
    const { step } = button.dataset;
    if (step === "remove") {
      const next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      this.name();
      (next?.querySelector("[data-step=remove]") ?? this.host.querySelector("[data-step-add]")).focus();
      this.tell(`${title} was taken out`);
      return;
    }
    if (step === "up") row.previousElementSibling?.before(row);
    else row.nextElementSibling?.after(row);
    this.name();
    (button.disabled ? row.querySelector("[data-step]:not(:disabled)") : button).focus();
    this.tell(`${title} is step ${[...this.rows.children].indexOf(row) + 1} now`);
  }

  // Which buttons can do something, and what each is called.
  name() {
    const rows = [...this.rows.children];
    rows.forEach((row, at) => {
      const title = row.querySelector("strong").textContent;
      for (const [step, words, off] of [["up", "Earlier", at === 0], ["down", "Later", at === rows.length - 1], ["remove", "Take out", false]]) {
        const button = row.querySelector(`[data-step=${step}]`);
        button.disabled = off;
        button.setAttribute("aria-label", `${words}: ${title}, step ${at + 1}`);
      }
    });
  }

  row({ name, params }) {
    const declared = this.declared.get(name) ?? { name, title: name, params: [] };
    const row = document.createElement("li");
    Object.assign(row.dataset, { augmentationRow: name });
    const head = Object.assign(document.createElement("div"), { className: "step-head" });
    head.append(Object.assign(document.createElement("strong"), { textContent: declared.title }));
    for (const [step, icon] of [["up", "up"], ["down", "up"], ["remove", "bin"]]) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: `act step-${step}` });
      button.dataset.step = step;
      button.append(this.icons.querySelector(`[data-icon=${icon}] svg`).cloneNode(true));
      head.append(button);
    }
    const known = new Set(declared.params.map((it) => it.name));
    const strange = Object.keys(params).filter((it) => !known.has(it)).map((it) => ({ name: it, label: it, kind: "json" }));
    const fields = Object.assign(document.createElement("div"), { className: "step-fields" });
    for (const param of [...declared.params, ...strange]) fields.append(this.field(declared.title, param, params[param.name]));
    row.append(head, fields);
    return row;
  }

  field(title, param, value) {
    const label = document.createElement("label");
    const control = document.createElement(param.kind === "choice" ? "select" : "input");
    Object.assign(control.dataset, { param: param.name, kind: param.kind });
    control.setAttribute("aria-label", `${title}: ${param.label}`);
    if (param.kind === "choice") {
      control.append(new Option("as usual", ""), ...param.options.map((it) => new Option(it, it)));
      control.value = value ?? "";
    } else if (param.kind === "switch") {
      control.type = "checkbox";
      control.checked = Boolean(value);
    } else if (param.kind === "number" || param.kind === "whole") {
      Object.assign(control, { type: "number", step: param.kind === "whole" ? "1" : "any", value: value ?? "", placeholder: param.name === "apply_p" ? "always" : "as usual" });
      if (param.low !== null) control.min = param.low;
      if (param.high !== null) control.max = param.high;
    } else {
      Object.assign(control, { type: "text", autocomplete: "off", placeholder: "as usual", value: param.kind === "json" ? JSON.stringify(value) : numbersText(value) });
    }
    const words = Object.assign(document.createElement("span"), { textContent: param.label });
    label.append(words, control);
    return label;
  }

  value() {
    return [...this.rows.children].map((row) => {
      const params = {};
      for (const control of row.querySelectorAll("[data-param]")) {
        const value = this.valueOf(control);
        if (value !== null) params[control.dataset.param] = value;
      }
      return { name: row.dataset.augmentationRow, params };
    });
  }

  valueOf(control) {
    const { kind } = control.dataset;
    if (kind === "switch") return control.checked;
    if (control.value.trim() === "") return null;
    if (kind === "number" || kind === "whole") return Number(control.value);
    if (kind === "numbers") return numbersOf(control.value);
    if (kind !== "json") return control.value;
    try {
      return JSON.parse(control.value);
    } catch {
      return control.value;
    }
  }
}
