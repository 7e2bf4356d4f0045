// SPDX-License-Identifier: Apache-2.0
// What every page has: the switch for light and dark, notes of trouble, times in the reader's own clock.
"use strict";

// Light and dark: whoever chooses what the system says anyway follows the system again.

const themeButton = document.getElementById("theme");

function nameTheme() {
  themeButton.setAttribute("aria-pressed", String(shownTheme() === "dark"));
}

themeButton.addEventListener("click", () => {
  const wanted = shownTheme() === "dark" ? "light" : "dark";
  const theme = wanted === (systemDark.matches ? "dark" : "light") ? null : wanted;
  keepTheme(theme);
  applyTheme(theme);
  nameTheme();
});
systemDark.addEventListener("change", nameTheme);
window.addEventListener("storage", nameTheme);
themeButton.hidden = false;
nameTheme();

// On a phone the rooms are one row that scrolls: the one that we are in is in sight.

const roomHere = document.querySelector(".rooms [aria-current]");
if (roomHere) {
  const row = roomHere.parentElement;
  const [all, one] = [row.getBoundingClientRect(), roomHere.getBoundingClientRect()];
  row.scrollLeft += one.left + one.width / 2 - all.left - all.width / 2;
}

// Times

function localTimes(root) {
  const style = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of root.querySelectorAll("time[data-when]")) time.textContent = style.format(new Date(time.dateTime));
}
localTimes(document);
document.addEventListener("htmx:afterSettle", (event) => localTimes(event.detail.target ?? document));

// What could not be done, told where it is seen from everywhere on the page.

function tellTrouble(text) {
  const place = document.getElementById("trouble");
  const box = document.createElement("div");
  box.className = "problem";
  box.textContent = text;
  place.replaceChildren(box);
}

// What base64 stands for.
const bytesOf = (base64) => Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));

// One sentence for those who hear the page instead of seeing it.
function announce(text) {
  document.getElementById("say").textContent = text;
}

// Whether the server can be reached. A page with a stream learns it there; the others when something is asked.
const connection = document.getElementById("connection");
let connectionLost = false;

function lostConnection() {
  connectionLost = true;
  document.body.classList.add("is-lost");
  connection.textContent = "Connection lost, trying again…";
  connection.hidden = false;
}

function foundConnection() {
  if (!connectionLost) return;
  connectionLost = false;
  document.body.classList.remove("is-lost");
  connection.textContent = "Connected again";
  setTimeout(() => (connection.hidden = !connectionLost), 2500);
}

document.addEventListener("htmx:sendError", () =>
  tellTrouble("The server did not answer. What you wrote is still here; try again when it is back."),
);

// An answer that is not ours to show (a proxy's page is not for this one) must not be put into it as it is.
document.addEventListener("htmx:beforeSwap", (event) => {
  const kind = event.detail.xhr.getResponseHeader("content-type") || "";
  if (kind.startsWith("text/html")) return;
  event.detail.shouldSwap = false;
  if (event.detail.xhr.status >= 400) tellTrouble(`The server refused this (status ${event.detail.xhr.status}).`);
});

// A note of trouble goes when it was read, or when the next thing works.
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-dismiss]")) document.getElementById("trouble").replaceChildren();
});
document.addEventListener("htmx:afterRequest", (event) => {
  const status = event.detail.xhr.status;
  if (status >= 200 && status < 400) document.getElementById("trouble").replaceChildren();
});

// A picture whose file is gone (deleted in another tab) says so instead of showing a broken frame.
document.addEventListener(
  "error",
  (event) => {
    if (event.target instanceof HTMLImageElement) event.target.classList.add("gone");
  },
  true,
);
