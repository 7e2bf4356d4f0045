// SPDX-License-Identifier: Apache-2.0
// Evaluation: order one, watch it, its matrix and curves, and two models against each other.
"use strict";

const evaluationReport = () => document.getElementById("evaluation-report");
let resultGrid = null;

const orderForm = document.querySelector("[data-evaluate]");
orderForm?.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearFieldErrors(orderForm);
  if (!looksRight(orderForm)) return;
  const subsets = [...orderForm.querySelectorAll("[name=split_subsets]:checked")].map((it) => it.value);
  if (subsets.length === 0) {
    fieldError(orderForm, "split_subsets", "Choose one part at least.")?.focus();
    return;
  }
  const { checkpoint, batch_size, device } = orderForm.elements;
  const asked = { checkpoint: checkpoint.value, split_subsets: subsets, batch_size: Number(batch_size.value), device: device.value };
  const made = await sendForm(orderForm, "POST", `${orderForm.dataset.api}?wait=false&again=true`, asked);
  if (made) location.href = `${evaluationReport().dataset.page}&evaluation=${made.evaluation.id}`;
});

function openReport() {
  const report = evaluationReport();
  if (!report?.dataset.id) return;
  if (["pending", "running"].includes(report.dataset.status)) watchEvaluation(report);
  if (report.dataset.status !== "completed") return;
  resultGrid = new ResultGrid(report);
  watchRoom(report);
  drawCurves(report).catch(() => {});
}

function watchEvaluation(report) {
  const words = report.querySelector("[data-evaluation-words]");
  const source = watchJob(report.dataset.job, {
    progress: (said) => {
      report.querySelector("[data-evaluation-bar]").value = said.progress;
      words.textContent = `Looking at the pictures: ${Math.round(said.progress * 100)} %`;
    },
    ended: () => location.reload(),
  });
  source.addEventListener("wait", (event) => {
    const reason = JSON.parse(event.data).reason?.text;
    if (reason) words.textContent = `Waiting: ${reason}.`;
  });
}

async function drawCurves(report) {
  const { aggregate } = await askStudio("GET", `${report.dataset.api}?evaluation=${report.dataset.id}`);
  const series = (curves) => Object.entries(curves).map(([name, { x, y }]) => ({ name, points: x.map((it, at) => [it, y[at]]) }));
  const guide = (name) => ({ name, points: [[0, 0], [1, 1]], guide: true });
  const common = { wholeX: false, domain: [0, 1], range: [0, 1] };
  drawChart(report.querySelector("[data-chart=roc]"), { ...common, title: "ROC: true against false positives", series: [...series(aggregate.roc), guide("by chance")], xTitle: "False positives" });
  drawChart(report.querySelector("[data-chart=recall]"), { ...common, title: "Precision against recall", series: series(aggregate.precision_recall), xTitle: "Recall" });
  const bins = aggregate.calibration.bins.filter((it) => it.count);
  drawChart(report.querySelector("[data-chart=reliability]"), {
    ...common, title: "Reliability: how far its confidence can be believed", xTitle: "Confidence",
    series: [{ name: "right", points: bins.map((it) => [it.confidence, it.accuracy]) }, guide("as it should be")],
  });
}

// -- two models ------------------------------------------------------------------------------------------------------

function percentText(value) {
  return value === null ? "–" : `${(value * 100).toFixed(1)} %`;
}

async function compareWith(form) {
  const report = evaluationReport();
  const place = document.querySelector("[data-compared]");
  const said = await askStudio("GET", `${report.dataset.api}/compare?other=${encodeURIComponent(form.elements.other.value)}&evaluation=${report.dataset.id}`);
  const { first, second, accuracy, difference } = said;
  const name = (one) => `${one.experiment} (${one.checkpoint})`;
  const words = document.createElement("p");
  const sure = said.significant ? "more than chance would make" : "no more than chance would make";
  words.textContent = `On ${countWords(said.pictures, "picture", "pictures")} that both looked at, they differ by ${percentText(difference.value)} (95 %: ${percentText(difference.low)} to ${percentText(difference.high)}): ${sure} (p = ${shortNumber(said.p_value)}).`;
  const table = Object.assign(document.createElement("table"), { className: "table" });
  const rows = [
    ["", name(first), name(second)],
    ["Accuracy", percentText(accuracy.first), percentText(accuracy.second)],
    ["Right where the other is wrong", said.only_first_right, said.only_second_right],
    ["Both right / both wrong", said.both_right, said.both_wrong],
    ["Pictures it had learned from", said.learned_from.first, said.learned_from.second],
  ];
  rows.forEach((row, at) => {
    const line = (at ? (table.tBodies[0] ?? table.createTBody()) : table.createTHead()).insertRow();
    row.forEach((text, column) => {
      const cell = document.createElement(at === 0 ? (column ? "th" : "td") : column ? "td" : "th");
      if (cell.tagName === "TH") cell.scope = at === 0 ? "col" : "row";
      cell.textContent = text;
      line.append(cell);
    });
  });
  const holder = Object.assign(document.createElement("div"), { className: "scroll-x" });
  holder.append(table);
  place.replaceChildren(words, holder);
}

// -- what is pressed -------------------------------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-compare-with]")) return;
  event.preventDefault();
  compareWith(event.target).catch(() => {});
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-which]")) location.href = `${evaluationReport().dataset.page}&evaluation=${event.target.value}`;
  if (event.target.name === "matrix") {
    for (const cell of document.querySelectorAll("[data-matrix] .cell")) cell.textContent = cell.dataset[event.target.value];
  }
});
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches(".cell")) resultGrid?.choose({ filter_class: button.dataset.truth, filter_predicted: button.dataset.answer, filter_correct: "", search: "" });
  else if ("reset" in button.dataset) {
    if (!(await askSure("Delete all evaluations of this experiment for good? They can be made again."))) return;
    const report = evaluationReport();
    if (await askStudio("DELETE", report.dataset.api).catch(() => null)) location.href = report.dataset.page;
  }
});

openReport();
