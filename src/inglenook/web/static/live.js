// SPDX-License-Identifier: Apache-2.0
// News from the server: one stream for the whole page, open only while the page can be seen
// (a browser grants six connections to one address, and many tabs would use them up).
"use strict";

const SILENCE_MS = 40_000; // the server says something at least every 15 s
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 15_000;

class Live {
  constructor(room) {
    this.room = room;
    this.jobs = document.getElementById("jobs");
    this.pictures = document.getElementById("pictures");
    this.fire = document.getElementById("fire");
    this.status = document.getElementById("connection");
    this.previews = new Map(); // job → the latest preview, and of which picture it is
    this.said = new Map(); // job → what was last announced
    this.source = null;
    this.waitMs = FIRST_WAIT_MS;
    this.retryTimer = 0;
    this.silenceTimer = 0;
    this.wasLost = false;
  }

  start() {
    document.addEventListener("visibilitychange", () => this.visibilityChanged());
    window.addEventListener("pagehide", () => this.close());
    window.addEventListener("pageshow", (event) => event.persisted && this.open());
    document.addEventListener("htmx:afterSwap", () => this.tidy());
    this.title();
    if (!document.hidden) this.open();
  }

  visibilityChanged() {
    if (document.hidden) this.close();
    else this.open();
  }

  // The connection

  open() {
    this.close();
    const query = new URLSearchParams();
    for (const card of this.jobs.querySelectorAll("[data-active]")) query.append("watch", card.dataset.job);
    const newest = this.pictures.querySelector("[data-picture]");
    query.set("newest", newest === null ? "" : newest.dataset.picture);
    const source = new EventSource(`${this.room.dataset.stream}?${query}`);
    this.source = source;
    source.onopen = () => this.opened();
    source.onerror = () => this.lost();
    this.on("card", (data) => this.card(data));
    this.on("wait", (data) => this.wait(JSON.parse(data)));
    this.on("progress", (data) => this.progress(JSON.parse(data)));
    this.on("preview", (data) => this.preview(JSON.parse(data)));
    this.on("made", (data) => this.made(data));
    this.on("fire", (data) => this.replaceFire(data));
    this.on("model", (data) => this.model(data));
    this.on("beat", () => {});
    this.heard();
  }

  on(name, act) {
    this.source.addEventListener(name, (event) => {
      this.heard();
      act(event.data);
    });
  }

  close() {
    clearTimeout(this.retryTimer);
    clearTimeout(this.silenceTimer);
    if (this.source !== null) this.source.close();
    this.source = null;
  }

  heard() {
    clearTimeout(this.silenceTimer);
    this.silenceTimer = setTimeout(() => this.lost(), SILENCE_MS);
  }

  opened() {
    this.waitMs = FIRST_WAIT_MS;
    if (!this.wasLost) return;
    this.wasLost = false;
    document.body.classList.remove("is-lost");
    this.status.textContent = "Connected again";
    setTimeout(() => (this.status.hidden = !this.wasLost), 2500);
  }

  lost() {
    this.close();
    if (document.hidden) return;
    this.wasLost = true;
    document.body.classList.add("is-lost");
    this.status.textContent = "Connection lost, trying again…";
    this.status.hidden = false;
    this.retryTimer = setTimeout(() => this.open(), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  // What it brings

  card(html) {
    const fresh = this.parse(html);
    const present = document.getElementById(fresh.id);
    if (present === null) this.jobs.prepend(fresh);
    else if (this.isOlder(fresh, present)) return;
    else if (present.outerHTML === fresh.outerHTML) return;
    else this.replace(present, fresh);
    htmx.process(fresh);
    this.tidy();
  }

  // An answer to a form and the stream race each other; how a job ended is never older than that it runs.
  isOlder(card, other) {
    const ended = card.dataset.active === undefined && other.dataset.active !== undefined;
    return !ended && Number(card.dataset.seq) < Number(other.dataset.seq);
  }

  // The focus stays on a button that is still there afterwards; half-read progress is not thrown back.
  replace(present, fresh) {
    const focused = present.contains(document.activeElement) ? document.activeElement.id : "";
    present.replaceWith(fresh);
    if (focused) (document.getElementById(focused) ?? fresh.querySelector("a, button"))?.focus();
  }

  parse(html) {
    const template = document.createElement("template");
    template.innerHTML = html.trim();
    return template.content.firstElementChild;
  }

  wait({ job, line, detail }) {
    const card = document.getElementById(job);
    const place = card?.querySelector("[data-line]");
    if (!place) return;
    place.textContent = line;
    card.querySelector("[data-detail]").textContent = detail;
    this.say(`${job} ${line.split(":")[0]}`, job, line); // the place and the reason, not every new estimate
  }

  progress({ job, percent, line }) {
    const card = document.getElementById(job);
    const bar = card?.querySelector("[data-progress]");
    if (!bar) return;
    bar.value = percent;
    bar.textContent = `${percent} %`;
    card.querySelector("[data-line]").textContent = line;
    const quarter = Math.floor(percent / 25) * 25;
    if (quarter > 0) this.say(`${job} ${quarter}`, job, `${quarter} per cent`);
    this.title();
  }

  async preview({ job, picture, media_type: type, b64 }) {
    const bytes = Uint8Array.from(atob(b64), (char) => char.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type }));
    this.previews.get(job)?.bitmap.close();
    this.previews.set(job, { bitmap, picture });
    this.paint(job);
  }

  paint(job) {
    const card = document.getElementById(job);
    const canvas = card?.querySelector("[data-preview]");
    if (!canvas || !this.previews.has(job)) return;
    const { bitmap, picture } = this.previews.get(job);
    if (picture < card.querySelectorAll(".part[data-picture]").length) return; // that one is finished
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    canvas.classList.add("has-preview");
    canvas.classList.toggle("pixels", bitmap.width <= 128);
  }

  made(html) {
    const tile = this.parse(html);
    if (this.pictures.querySelector(`[data-picture="${CSS.escape(tile.dataset.picture)}"]`) !== null) return;
    this.pictures.prepend(tile);
    htmx.process(tile);
  }

  replaceFire(html) {
    this.fire.innerHTML = html;
  }

  // How soon the model that is chosen can draw.
  model(html) {
    const states = JSON.parse(html);
    const place = document.getElementById("model-state");
    const chosen = document.getElementById("model")?.value;
    if (place !== null && chosen in states) place.innerHTML = states[chosen];
  }

  // After every change: no card twice, previews painted again, news told once.
  tidy() {
    const seen = new Map();
    for (const card of this.jobs.querySelectorAll("[data-job]")) {
      const other = seen.get(card.dataset.job);
      if (other === undefined) seen.set(card.dataset.job, card);
      else if (this.isOlder(card, other)) card.remove();
      else {
        other.remove();
        seen.set(card.dataset.job, card);
      }
    }
    for (const [job, card] of seen) {
      if (card.dataset.active !== undefined) this.paint(job);
      else this.previews.delete(job);
      this.say(`${job} ${card.dataset.say}`, job, card.dataset.say);
    }
    this.title();
  }

  say(key, job, text) {
    if (this.said.get(job) === key) return;
    this.said.set(job, key);
    document.getElementById("say").textContent = text;
  }

  title() {
    const active = this.jobs.querySelectorAll("[data-active]").length;
    document.title = active === 0 ? "Inglenook" : `(${active}) Inglenook`;
    document.body.classList.toggle("is-burning", active > 0);
  }
}

const room = document.querySelector("[data-stream]");
if (room !== null) new Live(room).start();
