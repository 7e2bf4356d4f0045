// SPDX-License-Identifier: Apache-2.0
// News from the server: one stream for the whole page, open only while the page can be seen
// (a browser grants six connections to one address, and many tabs would use them up).
"use strict";

const SILENCE_MS = 40_000; // the server says something at least every 15 s
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 15_000;
const LONGEST_HOLD_MS = 1_000; // whoever drags for longer sees the news all the same

// While something is pressed nothing is written anew: a button that is replaced before it is let go is not clicked.
let pressed = false;
let holdTimer = 0;
const held = []; // what has come meanwhile, in its order

function press() {
  pressed = true;
  clearTimeout(holdTimer);
  holdTimer = setTimeout(letGo, LONGEST_HOLD_MS);
}

function letGo() {
  clearTimeout(holdTimer);
  pressed = false;
  while (held.length > 0) held.shift()();
}

function whenLetGo(act) {
  if (pressed) held.push(act);
  else act();
}

// The click comes after the pointer is up.
const letGoSoon = () => setTimeout(letGo, 0);
window.addEventListener("pointerdown", press, true);
for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, letGoSoon, true);
window.addEventListener("keydown", (event) => event.key === " " && !event.repeat && press(), true);
window.addEventListener("keyup", (event) => event.key === " " && letGoSoon(), true);
window.addEventListener("blur", letGo);

class LiveStream {
  // address: a function, asked anew for each connection. handlers: by event, each given the event's data.
  constructor(address, handlers) {
    this.address = address;
    this.handlers = handlers;
    this.source = null;
    this.waitMs = FIRST_WAIT_MS;
    this.retryTimer = 0;
    this.silenceTimer = 0;
  }

  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    window.addEventListener("pagehide", () => this.close());
    window.addEventListener("pageshow", (event) => event.persisted && this.open());
    if (!document.hidden) this.open();
  }

  open() {
    this.close();
    const source = new EventSource(this.address());
    this.source = source;
    source.onopen = () => this.opened();
    source.onerror = () => this.lost();
    for (const [name, act] of Object.entries({ beat: () => {}, ...this.handlers })) {
      source.addEventListener(name, (event) => {
        this.heard();
        whenLetGo(() => this.source === source && act(event.data));
      });
    }
    this.heard();
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
    foundConnection();
  }

  lost() {
    this.close();
    if (document.hidden) return;
    lostConnection();
    this.retryTimer = setTimeout(() => this.open(), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }
}

// HTML of one element, as the server renders it.
function parseElement(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}
