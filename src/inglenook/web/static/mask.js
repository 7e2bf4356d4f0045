// SPDX-License-Identifier: Apache-2.0
// The mask brush: what was done is a list of strokes, so that undoing is leaving the last one out.
"use strict";

const MASK_COLOUR = "#ff6a2b";

class MaskEditor {
  constructor(dialog) {
    this.dialog = dialog;
    this.canvas = byId("mask-canvas");
    this.picture = byId("mask-picture");
    this.base = null; // the mask that was there before, as a canvas in our colour
    this.strokes = [];
    this.stroke = null; // the one being painted
    this.erasing = false;
  }

  start() {
    this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => (this.stroke = null));
    byId("mask-brush").addEventListener("click", () => this.choose(false));
    byId("mask-erase").addEventListener("click", () => this.choose(true));
    byId("mask-undo").addEventListener("click", () => this.undo());
    byId("mask-invert").addEventListener("click", () => this.add({ kind: "invert" }, "Inverted"));
    byId("mask-clear").addEventListener("click", () => this.add({ kind: "clear" }, "Cleared"));
    byId("mask-rectangle").addEventListener("submit", (event) => this.rectangle(event));
    byId("mask-done").addEventListener("click", () => this.done());
    this.dialog.addEventListener("click", (event) => event.target.closest("[data-close]") && this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => {
      if (event.key !== "z" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.undo();
    });
    document.addEventListener("click", (event) => event.target.closest("#mask-paint") && this.open());
  }

  async open() {
    const first = document.querySelector("#inputs .input img");
    if (first === null) {
      announce("Choose a picture first");
      return;
    }
    this.picture.src = first.src;
    try {
      await this.picture.decode();
    } catch {
      tellTrouble("The picture cannot be shown, so nothing can be painted on it. Choose another one.");
      return;
    }
    this.canvas.width = this.picture.naturalWidth;
    this.canvas.height = this.picture.naturalHeight;
    this.strokes = [];
    this.base = await this.kept();
    this.size().max = String(Math.max(16, Math.round(Math.max(this.canvas.width, this.canvas.height) / 2)));
    this.size().value = String(Math.max(2, Math.round(Math.max(this.canvas.width, this.canvas.height) / 8)));
    this.choose(false);
    this.paint();
    this.dialog.showModal();
  }

  size() {
    return byId("mask-size");
  }

  // The mask on the form, if it is as large as the picture: white becomes our colour.
  async kept() {
    const image = document.querySelector("#mask-kept img");
    if (image === null) return null;
    await image.decode();
    if (image.naturalWidth !== this.canvas.width || image.naturalHeight !== this.canvas.height) return null;
    const canvas = this.blank();
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(MASK_COLOUR.slice(at, at + 2), 16));
    for (let i = 0; i < pixels.data.length; i += 4) pixels.data.set([red, green, blue, pixels.data[i]], i);
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  blank() {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [this.canvas.width, this.canvas.height];
    return canvas;
  }

  choose(erasing) {
    this.erasing = erasing;
    byId("mask-brush").setAttribute("aria-pressed", String(!erasing));
    byId("mask-erase").setAttribute("aria-pressed", String(erasing));
  }

  // In the picture's own pixels, however large it is shown.
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.canvas.width,
      ((event.clientY - box.top) / box.height) * this.canvas.height,
    ];
  }

  begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.stroke = { kind: this.erasing ? "erase" : "paint", width: Number(this.size().value), points: [this.place(event)] };
    this.add(this.stroke, "");
  }

  go(event) {
    if (this.stroke === null) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) this.stroke.points.push(this.place(part));
    this.draw({ ...this.stroke, points: this.stroke.points.slice(-8) });
  }

  add(stroke, said) {
    this.strokes.push(stroke);
    this.draw(stroke);
    byId("mask-said").textContent = said;
  }

  undo() {
    const undone = this.strokes.pop();
    this.paint();
    byId("mask-said").textContent = undone === undefined ? "There is nothing to undo" : "Undone";
  }

  rectangle(event) {
    event.preventDefault();
    const [left, top, width, height] = ["left", "top", "width", "height"].map((name) => Number(byId(`rect-${name}`).value));
    const kind = this.erasing ? "unmark" : "mark";
    this.add({ kind, box: [left, top, width, height] }, `Rectangle of ${width} × ${height} at ${left}, ${top}`);
  }

  paint() {
    const context = this.canvas.getContext("2d");
    context.globalCompositeOperation = "source-over";
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.base !== null) context.drawImage(this.base, 0, 0);
    for (const stroke of this.strokes) this.draw(stroke);
  }

  draw(stroke) {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.globalCompositeOperation = ["erase", "unmark"].includes(stroke.kind) ? "destination-out" : "source-over";
    if (stroke.kind === "invert") context.globalCompositeOperation = "xor";
    context.fillStyle = context.strokeStyle = MASK_COLOUR;
    if (stroke.kind === "clear") context.clearRect(0, 0, width, height);
    else if (stroke.kind === "invert") context.fillRect(0, 0, width, height);
    else if (stroke.box !== undefined) context.fillRect(...stroke.box);
    else {
      context.lineWidth = stroke.width;
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      context.moveTo(...stroke.points[0]);
      for (const point of stroke.points) context.lineTo(...point);
      context.stroke();
    }
  }

  // White on black, as the server reads masks; sent, and shown on the form.
  async done() {
    const canvas = this.blank();
    const context = canvas.getContext("2d");
    context.drawImage(this.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#000000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const accepted = await addMask(new File([blob], "mask.png", { type: "image/png" }));
    if (accepted) this.dialog.close();
    else byId("mask-said").textContent = byId("error-mask").textContent;
  }
}

if (byId("mask-editor") !== null) new MaskEditor(byId("mask-editor")).start();
