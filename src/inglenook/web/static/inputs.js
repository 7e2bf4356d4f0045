// SPDX-License-Identifier: Apache-2.0
// Pictures to begin with: chosen, dropped or pasted; sent at once, shown, put in order, left out again.
"use strict";

const inputList = () => byId("inputs");

function inputError(html) {
  const slot = byId("error-image");
  slot.innerHTML = html; // the server's own, escaped where it came from
  slot.hidden = html === "";
}

// One request for all files of a kind; the answer is what stands on the form for them.
async function sendFiles(name, files) {
  const body = new FormData();
  body.append("csrf", drawForm().elements.csrf.value);
  for (const file of files) body.append(name, file);
  drawForm().classList.add("is-sending");
  try {
    const answer = await fetch("/inputs", { method: "POST", body, headers: { "hx-request": "true" } });
    return { ok: answer.ok, html: await answer.text() };
  } catch {
    tellTrouble("The server did not answer. Choose the picture again when it is back.");
    return { ok: false, html: "" };
  } finally {
    drawForm().classList.remove("is-sending");
  }
}

async function addInputs(files) {
  const pictures = [...files].filter((file) => file.type === "" || file.type.startsWith("image/"));
  if (pictures.length === 0) return;
  byId("fold-picture").open = true;
  const { ok, html } = await sendFiles("image", pictures);
  if (html === "") return;
  inputError(ok ? "" : html);
  if (!ok) return;
  inputList().insertAdjacentHTML("beforeend", html);
  htmx.process(inputList());
  tidyInputs();
  announce(pictures.length === 1 ? "Picture added" : `${pictures.length} pictures added`);
}

// As many as the model takes, the last ones given; each once. A mask is for the picture that it was painted on.
function tidyInputs() {
  const list = inputList();
  if (list === null) return;
  const seen = new Set();
  for (const item of [...list.children].reverse()) {
    if (seen.has(item.dataset.input)) item.remove();
    seen.add(item.dataset.input);
  }
  const most = Number(byId("source").dataset.max);
  while (list.children.length > most) list.firstElementChild.remove();
  const first = list.firstElementChild?.dataset.input ?? "";
  if (list.dataset.first !== undefined && list.dataset.first !== first) dropMask();
  list.dataset.first = first;
  list.classList.toggle("has-several", list.children.length > 1);
}

function moveInput(item, step) {
  const other = step < 0 ? item.previousElementSibling : item.nextElementSibling;
  if (other === null) return;
  if (step < 0) other.before(item);
  else other.after(item);
  tidyInputs();
}

function removeInput(item) {
  item.remove();
  tidyInputs();
  byId("image").focus();
}

// The mask

function keepMask(html) {
  byId("mask-kept").innerHTML = html;
  for (const name of ["mask_left", "mask_top", "mask_width", "mask_height"]) drawForm().elements[name].value = "";
}

function dropMask() {
  byId("mask-kept").replaceChildren();
}

async function addMask(file) {
  const { ok, html } = await sendFiles("mask", [file]);
  const slot = byId("error-mask");
  slot.innerHTML = ok ? "" : html;
  slot.hidden = ok;
  if (ok && html !== "") keepMask(html);
  return ok;
}

function paintMask() {
  const first = document.querySelector("#inputs .input img");
  if (first === null) return announce("Choose a picture first");
  const use = async (canvas) => {
    // Not toBlob: it waits for a browser that has nothing else to do, for up to seconds on a busy machine.
    const png = bytesOf(canvas.toDataURL("image/png").split(",")[1]);
    const accepted = await addMask(new File([png], "mask.png", { type: "image/png" }));
    return accepted ? "" : byId("error-mask").textContent;
  };
  maskEditor.open({ source: first.src, kept: document.querySelector("#mask-kept img"), use });
}

document.addEventListener("change", async (event) => {
  const field = event.target;
  if (field.id === "image" && field.files.length > 0) {
    await addInputs(field.files);
    field.value = ""; // sent already
  }
  if (field.id === "mask" && field.files.length > 0) {
    await addMask(field.files[0]);
    field.value = "";
  }
});

document.addEventListener("click", (event) => {
  const item = event.target.closest(".input");
  const move = event.target.closest("[data-move]");
  if (move !== null) {
    moveInput(item, Number(move.dataset.move));
    move.focus();
  }
  if (event.target.closest("[data-remove]") !== null) removeInput(item);
  if (event.target.closest("#mask-paint") !== null) paintMask();
  if (event.target.closest("[data-remove-mask]") !== null) {
    dropMask();
    byId("mask-paint").focus();
  }
});

// Files may be dropped anywhere on the page.

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event) || drawForm() === null) return;
  event.preventDefault();
  document.body.classList.add("is-dropping");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("is-dropping");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("is-dropping");
  if (!hasFiles(event) || drawForm() === null) return;
  event.preventDefault();
  addInputs(event.dataTransfer.files);
});

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
  if (files.length === 0 || drawForm() === null) return;
  event.preventDefault();
  addInputs(files);
});

// "Send to input", and whatever else puts a picture there
document.addEventListener("htmx:afterSettle", (event) => {
  const target = event.detail.target?.id;
  if (target === "inputs") {
    byId("fold-picture").open = true;
    byId("fold-picture").scrollIntoView({ block: "nearest" });
    announce("The picture is where the next one begins");
  }
  if (["inputs", "draw-form", "parameters"].includes(target)) tidyInputs();
});

tidyInputs();
