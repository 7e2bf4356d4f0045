// SPDX-License-Identifier: Apache-2.0
// LoRAs of a form: a row each, the weight typed or slid. Where a LoRA says its weight, it is filled in.
"use strict";

function addLora() {
  const list = document.getElementById("loras");
  const row = list.lastElementChild.cloneNode(true);
  row.querySelector("select").value = "";
  setLoraWeight(row, "");
  list.append(row);
  return row;
}

function removeLora(row) {
  const list = document.getElementById("loras");
  if (list.children.length === 1) addLora();
  (row.nextElementSibling ?? row.previousElementSibling).querySelector("select").focus();
  row.remove();
  list.dispatchEvent(new Event("change", { bubbles: true }));
}

function setLoraWeight(row, weight) {
  row.querySelector('[type="number"]').value = weight;
  row.querySelector("[data-beside]").value = weight || "1";
}

document.addEventListener("click", (event) => {
  if (event.target.closest("#lora-add")) addLora().querySelector("select").focus();
  const remove = event.target.closest("[data-remove-lora]");
  if (remove !== null) removeLora(remove.closest(".lora"));
});

document.addEventListener("input", (event) => {
  const row = event.target.closest(".lora");
  if (row === null || event.target.tagName === "SELECT") return;
  const [number, slider] = [row.querySelector('[type="number"]'), row.querySelector("[data-beside]")];
  if (event.target === slider) number.value = slider.value;
  else slider.value = number.value || number.placeholder;
});

document.addEventListener("change", (event) => {
  const row = event.target.closest(".lora");
  if (row !== null && event.target.tagName === "SELECT") setLoraWeight(row, event.target.selectedOptions[0]?.dataset.weight ?? row.querySelector('[type="number"]').value);
});
