// SPDX-License-Identifier: Apache-2.0
// The drawing form: small things that a form without scripts does without.
"use strict";

const MAX_RANDOM_SEED = 2 ** 32; // what fits into a picture's metadata of every tool that reads it

// A chosen file as a small canvas: no address of its own is needed, so the page's policy stays as strict as it is.
async function drawThumbnail(canvas, file, sidePx) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, sidePx / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
}

document.addEventListener("alpine:init", () => {
  window.Alpine.data("drawForm", () => ({
    size: "",
    seed: "",
    strength: "0.75",
    strengthSet: false,
    imageName: "Choose a picture, or drop one here",
    hasImage: false,
    over: false,

    init() {
      this.size = this.$refs.size.value;
      this.seed = this.$refs.seed.value;
      this.strength = this.$refs.strength.value;
      this.imageChosen(); // a browser may have kept the file over a reload
      for (const area of this.$root.querySelectorAll("textarea")) this.fit(area);
    },

    // The words

    maybeDraw(event) {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
      event.preventDefault();
      this.$root.requestSubmit();
    },
    grow(event) {
      this.fit(event.target);
    },
    fit(area) {
      area.style.height = "auto";
      const borders = area.offsetHeight - area.clientHeight;
      area.style.height = `${Math.min(area.scrollHeight + borders, 360)}px`;
    },

    // The size

    get isCustom() {
      return this.size === "custom";
    },
    sizeChosen(event) {
      this.size = event.target.value;
      // What Alpine shows is there one frame later; before that it cannot take the focus.
      if (this.isCustom) requestAnimationFrame(() => setTimeout(() => this.$root.querySelector("#width").focus()));
    },

    // The seed: empty draws a new one each time

    get seedLocked() {
      return this.seed === "" ? "false" : "true";
    },
    get seedTitle() {
      return this.seed === "" ? "Keep one seed" : "Back to random seeds";
    },
    seedTyped(event) {
      this.seed = event.target.value;
    },
    toggleSeed() {
      this.seed = this.seed === "" ? String(crypto.getRandomValues(new Uint32Array(1))[0] % MAX_RANDOM_SEED) : "";
      this.$refs.seed.value = this.seed;
    },

    // The picture to begin with

    get showStrength() {
      return this.hasImage;
    },
    get dropClass() {
      return this.over ? "over" : "";
    },
    dragOver() {
      this.over = true;
    },
    dragLeave() {
      this.over = false;
    },
    drop(event) {
      this.over = false;
      const files = event.dataTransfer.files;
      if (files.length === 0) return;
      this.$refs.image.files = files;
      this.imageChosen();
    },
    imageChosen() {
      const file = this.$refs.image.files[0];
      this.hasImage = file !== undefined;
      this.imageName = file === undefined ? "Choose a picture, or drop one here" : file.name;
      this.$refs.thumb.hidden = true;
      if (file === undefined) return;
      drawThumbnail(this.$refs.thumb, file, 160).then(
        () => (this.$refs.thumb.hidden = false),
        () => {}, // not a picture: the server says so, in words, when it is sent
      );
    },
    forgetImage() {
      this.$refs.image.value = "";
      this.$root.querySelector("#mask").value = "";
      this.imageChosen();
      this.$refs.image.focus();
    },
    strengthMoved(event) {
      this.strength = event.target.value;
      this.strengthSet = true;
    },
    // What a mask opens is drawn anew unless somebody said otherwise, as through the API.
    maskChosen(event) {
      if (this.strengthSet) return;
      this.strength = event.target.files.length > 0 ? "1" : "0.75";
      this.$refs.strength.value = this.strength;
    },
  }));
});

// Errors arrive at their fields; the first one gets the focus, and a folded part is opened for it.
function showErrors() {
  const form = document.getElementById("draw-form");
  if (form === null) return;
  let first = null;
  for (const slot of form.querySelectorAll("[data-error-of]")) {
    const wrong = !slot.hidden;
    const names = slot.dataset.errorOf === "size" ? ["size", "width", "height"] : [slot.dataset.errorOf];
    for (const name of names) {
      const field = form.elements[name];
      if (field === undefined) continue;
      if (wrong) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
      if (wrong && first === null) first = field;
    }
  }
  if (first === null) return;
  const folded = first.closest("details");
  if (folded !== null) folded.open = true;
  first.focus();
}

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.elt.id === "draw-form" && event.detail.xhr.status !== 0) showErrors();
});

// A form filled with what was used before: the words are where one goes on.
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target && event.detail.target.id === "draw-form") document.getElementById("prompt").focus();
});
