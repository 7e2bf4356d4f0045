// SPDX-License-Identifier: Apache-2.0
// A run as it is looked at: its news, curves, epochs, pictures and log. Epochs are kept by their number, so none counts twice.
"use strict";

const MIB = 2 ** 20;
const MOMENTS = 1000; // as many points as a chart can show
const bytesText = (bytes) => (bytes >= 1e9 ? `${(bytes / (1024 * MIB)).toFixed(1)} GiB` : `${Math.round(bytes / MIB)} MiB`);

function secondsText(seconds) {
  if (seconds < 90) return `${seconds < 10 ? Number(seconds.toPrecision(2)) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

class RunView {
  constructor(workspace, statusChanged) {
    Object.assign(this, { workspace, statusChanged, api: workspace.dataset.api, epochs: new Map(), speed: [], memory: [] });
    this.classes = JSON.parse(workspace.dataset.classes || "[]");
    this.notices().hidden = this.notices().childElementCount === 0;
    watchRoom(workspace);
    this.draw();
    this.follow();
    if (workspace.dataset.status === "pending" && workspace.dataset.job) this.watchQueue(workspace.dataset.job);
    this.find("[data-log-fold]").addEventListener("toggle", (event) => event.target.open && this.readLog());
    this.find("[data-samples-fold]").addEventListener("toggle", (event) => event.target.open && this.readSamples());
  }

  find(selector) {
    return this.workspace.querySelector(selector);
  }

  notices() {
    return this.find("[data-notices]");
  }

  close() {
    this.source?.close();
    this.queue?.close();
  }

  follow() {
    this.source = new EventSource(`${this.api}/stream`);
    const on = (name, act) => this.source.addEventListener(name, (event) => act(JSON.parse(event.data)));
    on("status", (said) => this.status(said));
    on("complete", (said) => {
      this.source.close();
      this.status(said);
    });
    on("epoch_end", (record) => this.epoch(record));
    on("batch", (said) => this.batch(said));
    on("samples", (said) => this.samples(said));
    on("notice", (said) => this.notice(said.text));
    on("parking", (said) => this.parking(said));
    this.source.addEventListener("open", foundConnection);
    this.source.addEventListener("error", () => this.source.readyState !== EventSource.CLOSED && lostConnection());
  }

  status({ status }) {
    if (status === this.workspace.dataset.status) return;
    this.close();
    this.statusChanged(status);
  }

  epoch(record) {
    // What was done after the checkpoint from which it goes on is done again.
    for (const number of this.epochs.keys()) if (number > record.epoch) this.epochs.delete(number);
    this.epochs.set(record.epoch, record);
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.draw();
    });
  }

  curve(name) {
    return [...this.epochs.values()].filter((it) => Number.isFinite(it[name])).sort((a, b) => a.epoch - b.epoch).map((it) => [it.epoch, it[name]]);
  }

  // The intervals that stand beside a metric; empty where it has none.
  interval(name) {
    const records = [...this.epochs.values()].filter((it) => [name, `${name}_low`, `${name}_high`].every((one) => Number.isFinite(it[one])));
    return records.sort((a, b) => a.epoch - b.epoch).map((it) => [it.epoch, it[`${name}_low`], it[`${name}_high`]]);
  }

  draw() {
    const { monitor, monitorTitle } = this.workspace.dataset;
    const two = (name) => [
      { name: "training", points: this.curve(`train_${name}`), band: this.interval(`train_${name}`), hook: "train" },
      { name: "validation", points: this.curve(`val_${name}`), band: this.interval(`val_${name}`), hook: "val" },
    ];
    drawChart(this.find("[data-chart=loss]"), { title: "Loss", series: two("loss") });
    drawChart(this.find("[data-chart=metric]"), { title: monitorTitle, series: two(monitor) });
    drawChart(this.find("[data-chart=rate]"), { title: "Learning rate", series: [{ name: "learning rate", points: this.curve("lr") }] });
    this.drawMeasured();
    this.drawTable();
    this.drawTiles(monitor, monitorTitle);
  }

  drawTiles(monitor, title) {
    const last = [...this.epochs.values()].at(-1);
    const best = [...this.epochs.values()].filter((it) => it.best).at(-1);
    const tiles = [];
    if (best) tiles.push([`Best ${title.toLowerCase()}`, shortNumber(best[`val_${monitor}`] ?? NaN), `epoch ${best.epoch}`]);
    if (last) {
      tiles.push(["Epochs", `${this.epochs.size}`, `of ${this.workspace.dataset.epochs}`]);
      if (Number.isFinite(last.val_loss)) tiles.push(["Validation loss", shortNumber(last.val_loss), "newest"]);
      if (Number.isFinite(last.duration_s)) tiles.push(["An epoch takes", secondsText(last.duration_s), "newest"]);
    }
    this.find("[data-tiles]").replaceChildren(...tiles.map(([label, value, fine]) => {
      const tile = Object.assign(document.createElement("p"), { className: "tile-figure" });
      for (const [name, text] of [["span", label], ["b", value], ["small", fine]]) tile.append(Object.assign(document.createElement(name), { textContent: text }));
      return tile;
    }));
  }

  drawTable() {
    const records = [...this.epochs.values()].sort((a, b) => a.epoch - b.epoch);
    const all = new Set(records.flatMap((it) => Object.keys(it)));
    const isEnd = (it) => /_(low|high)$/.test(it) && all.has(it.replace(/_(low|high)$/, "")); // it stands beside its value
    const names = [...all].filter((it) => records.some((record) => typeof record[it] === "number") && it !== "epoch" && !isEnd(it)).sort();
    const table = this.find("[data-epoch-table]");
    const head = document.createElement("tr");
    for (const name of ["epoch", ...names]) head.append(Object.assign(document.createElement("th"), { scope: "col", textContent: name.replace(/_bytes$/, "").replaceAll("_", " ") }));
    table.tHead.replaceChildren(head);
    table.tBodies[0].replaceChildren(...records.map((record) => {
      const row = document.createElement("tr");
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: record.best ? `${record.epoch} (best)` : record.epoch }));
      for (const name of names) row.insertCell().textContent = this.cell(record, name);
      return row;
    }));
  }

  // ``0.95 (0.89 to 0.98)``
  cell(record, name) {
    const [value, low, high] = [record[name], record[`${name}_low`], record[`${name}_high`]];
    if (!Number.isFinite(value)) return "–";
    if (name.endsWith("_bytes")) return bytesText(value);
    const range = Number.isFinite(low) && Number.isFinite(high) ? ` (${shortNumber(low)} to ${shortNumber(high)})` : "";
    return `${shortNumber(value)}${range}`;
  }

  batch(said) {
    const bar = this.find("[data-run-bar]");
    if (!bar) return;
    bar.value = said.progress;
    const what = said.stage === "val" ? "validating" : "training";
    this.find("[data-run-words]").textContent = `Epoch ${said.epoch} of ${said.epochs}, ${what}`;
    const figures = [[`${Math.round(said.progress * 100)} %`, "done"], [`${said.batch} / ${said.batches}`, "batches"]];
    if (said.estimate_s !== null) figures.push([secondsText(said.estimate_s), "left"]);
    if (said.loss !== null) figures.push([shortNumber(said.loss), "loss"]);
    if (said.examples_per_s) figures.push([shortNumber(Math.round(said.examples_per_s)), "pictures/s"]);
    if (said.memory_bytes) figures.push([bytesText(said.memory_bytes), "memory"]);
    this.find("[data-run-figures]").replaceChildren(...figures.map(([value, label]) => {
      const span = document.createElement("span");
      span.append(Object.assign(document.createElement("b"), { textContent: value }), ` ${label}`);
      return span;
    }));
    this.find("[data-parked]").hidden = true;
    this.measure(said);
  }

  measure(said) {
    const x = Number((said.epoch - 1 + said.batch / Math.max(1, said.batches)).toFixed(3));
    if (said.stage === "train" && said.examples_per_s) this.speed.push([x, said.examples_per_s]);
    if (said.memory_bytes) this.memory.push([x, said.memory_bytes / MIB]);
    for (const points of [this.speed, this.memory]) if (points.length > MOMENTS) points.splice(0, points.length - MOMENTS);
    this.drawMeasured();
  }

  // Of each epoch a value is kept; of moments only what came since the page was opened.
  drawMeasured() {
    const inMiB = this.curve("memory_bytes").map(([epoch, bytes]) => [epoch, bytes / MIB]);
    const charts = [
      ["speed", "Pictures a second", "mean of the epoch", this.curve("examples_per_s"), this.speed],
      ["memory", "Memory in MiB", "most of the epoch", inMiB, this.memory],
    ];
    for (const [key, title, name, kept, moments] of charts) {
      const figure = this.find(`[data-chart=${key}]`);
      figure.hidden = kept.length === 0 && moments.length < 2;
      if (figure.hidden) continue;
      const series = [{ name, points: kept }];
      if (moments.length > 1) series.push({ name: "since this page was opened", points: [...moments] });
      drawChart(figure, { title, series, wholeX: moments.length < 2 });
    }
  }

  parking({ parked, text }) {
    const place = this.find("[data-parked]");
    if (!place) return;
    place.hidden = !parked;
    if (!parked) return;
    this.find("[data-parked-words]").textContent = `Stepped aside: ${text}`;
    announce(`The training has stepped aside: ${text}`);
  }

  notice(text) {
    this.notices().append(Object.assign(document.createElement("li"), { textContent: text }));
    this.notices().hidden = false;
  }

  // Its place and why it waits, from the queue.
  watchQueue(job) {
    this.queue = watchJob(job, { ended: () => {} });
    this.queue.addEventListener("wait", (event) => this.waits(JSON.parse(event.data)));
    this.queue.addEventListener("state", (event) => this.waits(JSON.parse(event.data).waiting));
  }

  waits(said) {
    const words = this.find("[data-run-words]");
    if (!said || !words || this.workspace.dataset.status !== "pending") return;
    const place = said.position ? `Place ${said.position}${said.waiting ? ` of ${said.waiting}` : ""} in the queue. ` : "";
    const left = said.estimate_s ? ` About ${secondsText(said.estimate_s)}.` : "";
    words.textContent = `${place}${said.reason?.text ? `Waiting: ${said.reason.text}.` : "Waiting for its turn."}${left}`;
  }

  async readLog() {
    const { lines } = await askStudio("GET", `${this.api}/log`);
    const log = this.find("[data-log]");
    log.textContent = lines.map((it) => `${it.at.slice(11, 19)}  ${it.text}`).join("\n") || "Nothing yet.";
    log.scrollTop = log.scrollHeight;
  }

  async readSamples() {
    this.samples(await askStudio("GET", `${this.api}/samples`));
  }

  samples({ epoch, samples }) {
    const words = this.find("[data-samples-words]");
    if (!samples.length) {
      words.textContent = "None yet: they come after an epoch.";
      return;
    }
    words.textContent = `Of the validation part, after epoch ${epoch}.`;
    this.find("[data-samples]").replaceChildren(...samples.map((one) => this.sample(one)));
  }

  className(value) {
    return typeof value === "number" ? (this.classes[value] ?? `class ${value}`) : String(value);
  }

  sample({ id, target, prediction, confidence }) {
    const right = target === prediction;
    const item = Object.assign(document.createElement("li"), { className: right ? "is-right" : "is-wrong" });
    const picture = Object.assign(document.createElement("img"), { src: apiOf("datasets", `/thumbnails/${encodeURIComponent(id)}?size=128`), alt: "", loading: "lazy" });
    const said = Object.assign(document.createElement("p"), { textContent: `${right ? "right" : "wrong"}: ${this.className(prediction)}${confidence === null || confidence === undefined ? "" : ` ${Math.round(confidence * 100)} %`}` });
    item.append(picture, said);
    if (!right) item.append(Object.assign(document.createElement("p"), { className: "fine", textContent: `is ${this.className(target)}` }));
    return item;
  }
}
