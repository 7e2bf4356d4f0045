// SPDX-License-Identifier: Apache-2.0
// What the studio's forms share: sending JSON, and the server's words about a field at that field.
"use strict";

function clearFieldErrors(form) {
  for (const place of form.querySelectorAll("[data-error-of]")) place.hidden = true;
  for (const control of form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
}

// The words at their field; the control to go to, or null where the form has no such field.
function fieldError(form, name, words) {
  const places = [...form.querySelectorAll("[data-error-of]")];
  const place = places.find((it) => name === it.dataset.errorOf) ?? places.find((it) => name.startsWith(it.dataset.errorOf));
  if (!place) return null;
  place.textContent = words;
  place.hidden = false;
  place.closest("[hidden]")?.removeAttribute("hidden");
  const control = form.elements[name] instanceof HTMLElement ? form.elements[name] : place.parentElement.querySelector("input, select, button");
  control?.setAttribute("aria-invalid", "true");
  announce(words);
  return control;
}

// What the browser itself finds wrong, told at its field. True when there is nothing.
function looksRight(form, nameOf = (control) => control.name) {
  const bad = [...form.elements].find((it) => it.willValidate && !it.validity.valid && !it.closest("[hidden]"));
  if (!bad) return true;
  if (!fieldError(form, nameOf(bad), bad.validationMessage)) bad.reportValidity();
  bad.focus();
  return false;
}

// The data of the answer; null when it was refused, which is told then: at the fields, or as trouble.
async function sendForm(form, method, path, body) {
  clearFieldErrors(form);
  const answer = await fetch(path, {
    method, headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  }).catch(() => null);
  if (answer === null) {
    lostConnection();
    tellTrouble("The server did not answer. Nothing was changed; try again when it is back.");
    return null;
  }
  foundConnection();
  const said = await answer.json().catch(() => null);
  if (answer.ok) return said?.data ?? {};
  let first = null;
  for (const detail of said?.error?.details ?? []) {
    const control = fieldError(form, detail.loc.slice(1).join("."), detail.msg);
    first ??= control;
  }
  if (first) {
    for (let fold = first.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    first.focus();
  } else {
    form.closest("dialog")?.close();
    tellTrouble(said?.error?.message ?? `The server refused this (status ${answer.status}).`);
  }
  return null;
}

// A picture of a few pixels is shown as what it is, not as a blur.
document.addEventListener("load", (event) => {
  if (event.target instanceof HTMLImageElement) event.target.classList.toggle("is-tiny", event.target.naturalWidth < 48);
}, true);
