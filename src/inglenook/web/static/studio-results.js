// SPDX-License-Identifier: Apache-2.0
// The pictures of an evaluation: filtered, sorted, in pages; and one of them with its probabilities.
"use strict";

const RESULTS_A_PAGE = 60;

class ResultGrid {
  constructor(report) {
    Object.assign(this, { report, api: report.dataset.api, page: 1, shown: 0, items: [] });
    this.form = report.querySelector("[data-filters]");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", () => this.begin());
    report.querySelector("[data-mistakes]").addEventListener("click", () => this.choose({ filter_correct: "incorrect", sort: "error desc", filter_class: "", filter_predicted: "" }));
    report.querySelector("[data-pages]").addEventListener("click", (event) => {
      const button = event.target.closest("[data-turn]");
      if (button) this.load(this.page + Number(button.dataset.turn));
    });
    report.querySelector("[data-result-list]").addEventListener("click", (event) => {
      const button = event.target.closest("[data-filename]");
      if (button) showResult(this, button.dataset.filename);
    });
    this.load(1);
  }

  // From the first page again, when whoever types has paused.
  begin() {
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.load(1), 200);
  }

  choose(values) {
    for (const [name, value] of Object.entries(values)) this.form.elements[name].value = value;
    this.load(1);
    const title = this.report.querySelector("#results-title");
    title.scrollIntoView({ block: "start" });
    title.focus({ preventScroll: true });
  }

  query() {
    const asked = new URLSearchParams(new FormData(this.form));
    const [by, order] = asked.get("sort").split(" ");
    asked.delete("sort");
    asked.set("sort_by", by);
    asked.set("sort_order", order);
    asked.set("evaluation", this.report.dataset.id);
    asked.set("page_size", RESULTS_A_PAGE);
    return asked;
  }

  async load(page) {
    const turn = ++this.shown;
    const asked = this.query();
    asked.set("page", page);
    const found = await askStudio("GET", `${this.api}/results?${asked}`).catch(() => null);
    if (found === null || turn !== this.shown) return;
    Object.assign(this, { page, items: found.items });
    this.report.querySelector("[data-result-list]").replaceChildren(...found.items.map((one) => this.item(one)));
    this.report.querySelector("[data-results-count]").textContent = found.total_items ? countWords(found.total_items, "picture", "pictures") : "None fits.";
    const pages = this.report.querySelector("[data-pages]");
    pages.hidden = found.total_pages < 2;
    pages.querySelector("[data-page-words]").textContent = `Page ${page} of ${found.total_pages}`;
    pages.querySelector("[data-turn='-1']").disabled = page <= 1;
    pages.querySelector("[data-turn='1']").disabled = page >= found.total_pages;
  }

  item(one) {
    const [truth, answer] = [one.ground_truth.class_name, one.prediction.class_name];
    const item = Object.assign(document.createElement("li"), { className: one.correct ? "is-right" : "is-wrong" });
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.dataset.filename = one.filename;
    const picture = Object.assign(document.createElement("img"), { src: apiOf("datasets", `/thumbnails/${encodeURIComponent(one.filename)}?size=128`), alt: "", loading: "lazy", width: 128, height: 128 });
    const words = Object.assign(document.createElement("span"), { textContent: `${one.correct ? "right" : "wrong"}: ${answer} ${Math.round(one.prediction.confidence * 100)} %` });
    button.append(picture, words);
    if (!one.correct) button.append(Object.assign(document.createElement("span"), { className: "fine", textContent: `is ${truth}` }));
    item.append(button);
    return item;
  }
}

// -- one picture ---------------------------------------------------------------------------------------------------

const resultBox = document.getElementById("result-viewer");
let resultShown = null;

async function showResult(grid, filename) {
  const asked = grid.query();
  const { result, navigation } = await askStudio("GET", `${grid.api}/results/${encodeURIComponent(filename)}/info?${asked}`);
  resultShown = { grid, result, navigation };
  document.getElementById("result-title").textContent = result.filename;
  const picture = resultBox.querySelector("[data-result-picture]");
  picture.src = apiOf("datasets", `/images/${encodeURIComponent(result.filename)}`);
  picture.alt = result.filename;
  resultBox.querySelector("[data-result-saliency]").hidden = true;
  resultBox.querySelector("[data-saliency-words]").textContent = "";
  const { correct, ground_truth, prediction, loss, subset } = result;
  resultBox.querySelector("[data-result-words]").textContent = `${correct ? "Right" : "Wrong"}: answered ${prediction.class_name}, is ${ground_truth.class_name}. Loss ${shortNumber(loss)}, part ${subset}.`;
  const scores = Object.entries(result.probabilities).sort((a, b) => b[1] - a[1]).slice(0, 20);
  resultBox.querySelector("[data-result-scores]").replaceChildren(...scores.map(([name, score]) => scoreRow(name, score)));
  for (const step of ["previous", "next"]) resultBox.querySelector(`[data-result-step=${step}]`).disabled = !navigation[`${step}_filename`];
  if (!resultBox.open) resultBox.showModal();
}

function scoreRow(label, score) {
  const row = document.createElement("li");
  const bar = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: score });
  bar.setAttribute("aria-label", label);
  row.append(Object.assign(document.createElement("span"), { textContent: label }), bar, Object.assign(document.createElement("span"), { className: "n", textContent: `${(score * 100).toFixed(1)} %` }));
  return row;
}

async function showSaliency(button) {
  const { grid, result } = resultShown;
  const words = resultBox.querySelector("[data-saliency-words]");
  button.disabled = true;
  words.textContent = "Looking…";
  const answer = await fetch(`${grid.api}/saliency/${encodeURIComponent(result.filename)}?evaluation=${grid.report.dataset.id}`).catch(() => null);
  button.disabled = false;
  if (resultShown?.result !== result) return;
  if (!answer?.ok) {
    words.textContent = (await answer?.json().catch(() => null))?.error?.message ?? "The server did not answer.";
    return;
  }
  const map = resultBox.querySelector("[data-result-saliency]");
  map.src = URL.createObjectURL(await answer.blob());
  map.alt = `Where on ${result.filename} ${result.prediction.class_name} was found`;
  map.hidden = false;
  words.textContent = `Where it found ${result.prediction.class_name}`;
}

resultBox?.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || !resultShown) return;
  if ("saliency" in button.dataset) showSaliency(button).catch(() => {});
  else if (button.dataset.resultStep) showResult(resultShown.grid, resultShown.navigation[`${button.dataset.resultStep}_filename`]).catch(() => {});
});
resultBox?.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
  const button = step && resultBox.querySelector(`[data-result-step=${step}]`);
  if (button && !button.disabled) button.click();
});
