// SPDX-License-Identifier: Apache-2.0
// What the gallery's scripts share: asking the API, the toast that takes back, the question before what is final.
"use strict";

// The JSON of an answer. Throws an Error whose message a person can read; trouble is told already.
async function askApi(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body instanceof FormData || body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined || body instanceof FormData ? body : JSON.stringify(body),
    });
  } catch {
    lostConnection();
    tellTrouble("The server did not answer. Nothing was changed; try again when it is back.");
    throw new Error("no answer");
  }
  foundConnection();
  const said = await answer.json().catch(() => null);
  if (answer.ok) {
    document.getElementById("trouble").replaceChildren(); // what did not work before is over
    return said;
  }
  const text = said?.error?.message ?? `The server refused this (status ${answer.status}).`;
  tellTrouble(text);
  throw new Error(text);
}

// The toast: what was done, and a way back as long as it stands.

const TOAST_MS = 12_000;
const toast = document.getElementById("toast");
let takeBack = null;
let toastTimer = 0;

function showToast(text, undo = null) {
  clearTimeout(toastTimer);
  takeBack = undo;
  toast.querySelector("p").textContent = text;
  toast.querySelector("[data-undo]").hidden = undo === null;
  toast.hidden = false;
  if (!toast.matches(":hover, :focus-within")) toastTimer = setTimeout(hideToast, TOAST_MS);
}

function hideToast() {
  clearTimeout(toastTimer);
  toast.hidden = true;
  takeBack = null;
}

// Whoever is about to reach for it gets the time.
for (const name of ["pointerenter", "focusin"]) toast.addEventListener(name, () => clearTimeout(toastTimer));
for (const name of ["pointerleave", "focusout"]) {
  toast.addEventListener(name, () => {
    clearTimeout(toastTimer);
    if (!toast.hidden) toastTimer = setTimeout(hideToast, TOAST_MS);
  });
}
toast.addEventListener("click", async (event) => {
  if (event.target.closest("[data-toast-away]")) hideToast();
  if (!event.target.closest("[data-undo]") || takeBack === null) return;
  const undo = takeBack;
  hideToast();
  await undo().catch(() => {});
});

// Asked before what cannot be taken back.
function askSure(text, yes = null) {
  const box = document.getElementById("sure");
  const button = box.querySelector('[value="yes"]');
  button.dataset.usual ??= button.textContent;
  button.textContent = yes ?? button.dataset.usual;
  document.getElementById("sure-words").textContent = text;
  box.returnValue = "no";
  box.showModal();
  return new Promise((resolve) => {
    box.addEventListener("close", () => resolve(box.returnValue === "yes"), { once: true });
  });
}

function countWords(number, one, many) {
  return `${number} ${number === 1 ? one : many}`;
}

const IDS_AT_ONCE = 1000; // the server's own limit

// What was named, in pieces that the server takes; the answers, one after the other.
async function forIds(path, ids, more = {}) {
  const answers = [];
  for (let at = 0; at < ids.length; at += IDS_AT_ONCE) {
    answers.push(await askApi("POST", path, { ids: ids.slice(at, at + IDS_AT_ONCE), ...more }));
  }
  return answers;
}

// Without any network a server on this machine is still there.
window.addEventListener("offline", () => fetch("/livez", { cache: "no-store" }).then(foundConnection, lostConnection));
window.addEventListener("online", foundConnection);
document.addEventListener("htmx:sendError", lostConnection);
document.addEventListener("htmx:afterOnLoad", foundConnection);
