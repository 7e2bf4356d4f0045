// SPDX-License-Identifier: Apache-2.0
// The work on the page: a card for each job, kept up to date by the stream.
"use strict";

class Work {
  constructor(room) {
    this.room = room;
    this.jobs = document.getElementById("jobs");
    this.pictures = document.getElementById("pictures");
    this.fire = document.getElementById("fire");
    this.previews = new Map(); // job → the latest preview, and of which picture it is
    this.said = new Map(); // job → what was last announced
  }

  start() {
    document.addEventListener("htmx:afterSwap", () => this.tidy());
    this.title();
    new LiveStream(() => this.address(), {
      card: (data) => this.card(data),
      wait: (data) => this.wait(JSON.parse(data)),
      progress: (data) => this.progress(JSON.parse(data)),
      preview: (data) => this.preview(JSON.parse(data)),
      made: (data) => this.made(data),
      fire: (data) => this.replaceFire(data),
      model: (data) => this.model(data),
    }).start();
  }

  address() {
    const query = new URLSearchParams();
    for (const card of this.jobs.querySelectorAll("[data-active]")) query.append("watch", card.dataset.job);
    const newest = this.pictures.querySelector("[data-picture]");
    query.set("newest", newest === null ? "" : newest.dataset.picture);
    return `${this.room.dataset.stream}?${query}`;
  }

  card(html) {
    const fresh = parseElement(html);
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
    const bitmap = await createImageBitmap(new Blob([bytesOf(b64)], { type }));
    this.previews.get(job)?.bitmap.close();
    this.previews.set(job, { bitmap, picture });
    this.paint(job);
  }

  paint(job) {
    if (!this.previews.has(job)) return;
    const { bitmap, picture } = this.previews.get(job);
    const canvas = document.getElementById(job)?.querySelector(`[data-preview="${picture}"]`);
    if (!canvas) return; // that one is finished
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    canvas.classList.add("has-preview");
    canvas.classList.toggle("pixels", bitmap.width <= 128);
  }

  made(html) {
    const tile = parseElement(html);
    if (this.pictures.querySelector(`[data-picture="${CSS.escape(tile.dataset.picture)}"]`) !== null) return;
    this.pictures.prepend(tile);
    htmx.process(tile);
  }

  replaceFire(html) {
    this.fire.innerHTML = html;
  }

  // How soon each model can draw.
  model(json) {
    const states = JSON.parse(json);
    const select = document.getElementById("model");
    if (select === null) return;
    if (select.value in states) document.getElementById("model-state").innerHTML = states[select.value].html;
    for (const option of select.options) {
      const words = states[option.value]?.option;
      if (words !== undefined && option.textContent !== words) option.textContent = words;
    }
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
    announce(text);
  }

  title() {
    const active = this.jobs.querySelectorAll("[data-active]").length;
    document.title = active === 0 ? "Inglenook" : `(${active}) Inglenook`;
    document.getElementById("cancel-all").hidden = active < 2;
    document.body.classList.toggle("is-burning", active > 0);
  }
}

// Two pictures side by side: the second choice opens them.

class Pair {
  constructor(dialog) {
    this.dialog = dialog;
    this.chosen = [];
  }

  start() {
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-compare]");
      if (button !== null) this.choose(button.dataset.compare);
    });
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog || event.target.closest("[data-close]")) this.dialog.close();
    });
    this.dialog.addEventListener("close", () => this.choose(null));
    document.addEventListener("htmx:afterSwap", () => this.mark());
  }

  choose(picture) {
    if (picture === null) this.chosen = [];
    else if (this.chosen.includes(picture)) this.chosen = this.chosen.filter((one) => one !== picture);
    else this.chosen.push(picture);
    this.mark();
    if (this.chosen.length === 2) this.show();
    else if (picture !== null && this.chosen.length === 1) announce("Choose the picture to compare it with");
  }

  mark() {
    for (const button of document.querySelectorAll("[data-compare]")) {
      button.setAttribute("aria-pressed", String(this.chosen.includes(button.dataset.compare)));
    }
  }

  show() {
    const figures = this.chosen.map((picture) => this.figure(picture)).filter((figure) => figure !== null);
    document.getElementById("pair-two").replaceChildren(...figures);
    document.getElementById("viewer").close();
    this.dialog.showModal();
  }

  figure(picture) {
    const place = document.querySelector(`[data-picture="${CSS.escape(picture)}"] img`);
    const shown = place ?? document.querySelector(`[data-viewing="${CSS.escape(picture)}"] img`);
    if (shown === null) return null;
    const figure = document.createElement("figure");
    const image = shown.cloneNode();
    image.loading = "eager";
    const caption = document.createElement("figcaption");
    const button = document.querySelector(`[data-compare="${CSS.escape(picture)}"]`);
    caption.textContent = [button?.dataset.words, `${image.getAttribute("width")} × ${image.getAttribute("height")}`].filter(Boolean).join(" · ");
    figure.append(image, caption);
    return figure;
  }
}

const room = document.querySelector("[data-stream]");
if (room !== null) {
  new Work(room).start();
  new Pair(document.getElementById("pair")).start();
}
