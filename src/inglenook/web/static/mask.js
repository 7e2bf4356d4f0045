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
    this.anchor = null; // where the rectangle that is being drawn began
    this.erasing = false;
    this.boxing = false; // a pull of the pointer marks a rectangle instead of a line
    this.crisp = false; // whole pixels only
    this.use = null;
  }

  start() {
    this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => this.end());
    byId("mask-brush").addEventListener("click", () => this.choose(false));
    byId("mask-erase").addEventListener("click", () => this.choose(true));
    byId("mask-box").addEventListener("click", () => this.chooseBox(!this.boxing));
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
  }

  // source: the address of the picture. kept: an image of the mask that was there, white on black, or null.
  // crisp: the picture is a sprite: whole pixels, enlarged by whole factors.
  // use(canvas): takes the finished mask; the promise of why it cannot be, or of "".
  async open({ source, kept = null, crisp = false, use }) {
    this.picture.src = source;
    try {
      await this.picture.decode();
    } catch {
      tellTrouble("The picture cannot be shown, so nothing can be painted on it. Choose another one.");
      return;
    }
    this.canvas.width = this.picture.naturalWidth;
    this.canvas.height = this.picture.naturalHeight;
    this.crisp = crisp;
    this.use = use;
    this.strokes = [];
    this.base = await this.kept(kept);
    this.fitFields();
    this.choose(false);
    this.chooseBox(false);
    this.paint();
    byId("mask-said").textContent = "";
    this.dialog.showModal();
    this.enlarge();
  }

  fitFields() {
    const longest = Math.max(this.canvas.width, this.canvas.height);
    this.size().min = this.crisp ? "1" : "4";
    this.size().max = String(Math.max(this.crisp ? 8 : 16, Math.round(longest / 2)));
    this.size().value = String(Math.max(2, Math.round(longest / (this.crisp ? 16 : 8))));
    for (const [name, side] of [["left", this.canvas.width - 1], ["top", this.canvas.height - 1], ["width", this.canvas.width], ["height", this.canvas.height]]) {
      byId(`rect-${name}`).max = String(side);
    }
  }

  // A sprite is shown by the largest whole factor that fits.
  enlarge() {
    const stage = this.picture.parentElement;
    stage.classList.toggle("is-crisp", this.crisp);
    this.picture.style.width = "";
    if (!this.crisp) return;
    const room = this.dialog.clientWidth - 2 * parseFloat(getComputedStyle(this.dialog).paddingInlineStart);
    const factor = Math.floor(Math.min(room / this.canvas.width, (window.innerHeight * 0.55) / this.canvas.height));
    this.picture.style.width = `${this.canvas.width * Math.max(1, factor)}px`;
  }

  size() {
    return byId("mask-size");
  }

  // The mask that was there, if it is as large as the picture: white becomes our colour.
  async kept(image) {
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

  chooseBox(boxing) {
    this.boxing = boxing;
    byId("mask-box").setAttribute("aria-pressed", String(boxing));
    this.size().disabled = boxing;
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
    const at = this.place(event);
    this.anchor = this.boxing ? at : null;
    this.stroke = this.boxing
      ? { kind: this.erasing ? "unmark" : "mark", box: this.boxOf(at, at) }
      : { kind: this.erasing ? "erase" : "paint", width: Number(this.size().value), points: [at] };
    this.add(this.stroke, "");
  }

  go(event) {
    if (this.stroke === null) return;
    if (this.anchor !== null) {
      this.stroke.box = this.boxOf(this.anchor, this.place(event));
      this.paint();
      return;
    }
    const drawn = this.stroke.points.length; // a busy browser tells many places at once: none is left out
    for (const part of event.getCoalescedEvents?.() ?? [event]) this.stroke.points.push(this.place(part));
    this.draw({ ...this.stroke, points: this.stroke.points.slice(drawn - 1) });
  }

  end() {
    if (this.stroke?.box !== undefined) byId("mask-said").textContent = this.nameBox(this.stroke.box);
    this.stroke = this.anchor = null;
  }

  // The whole pixels that two places span, those under them included: left, top, width, height.
  boxOf(one, other) {
    const sides = [this.canvas.width, this.canvas.height];
    const low = [0, 1].map((axis) => Math.max(0, Math.min(Math.floor(Math.min(one[axis], other[axis])), sides[axis] - 1)));
    const high = [0, 1].map((axis) => Math.max(0, Math.min(Math.floor(Math.max(one[axis], other[axis])), sides[axis] - 1)));
    return [low[0], low[1], high[0] - low[0] + 1, high[1] - low[1] + 1];
  }

  nameBox([left, top, width, height]) {
    return `Rectangle of ${width} × ${height} at ${left}, ${top}`;
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
    const box = ["left", "top", "width", "height"].map((name) => Number(byId(`rect-${name}`).value));
    this.add({ kind: this.erasing ? "unmark" : "mark", box }, this.nameBox(box));
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
    else if (this.crisp) this.stamp(context, stroke);
    else {
      context.lineWidth = stroke.width;
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      context.moveTo(...stroke.points[0]);
      for (const point of stroke.points) context.lineTo(...point);
      context.stroke();
    }
  }

  // A line of whole pixels: discs that touch each other. Nothing in between full and clear.
  stamp(context, { width, points }) {
    let [x, y] = points[0];
    this.disc(context, width, x, y);
    for (const [toX, toY] of points.slice(1)) {
      const steps = Math.max(1, Math.ceil(2 * Math.max(Math.abs(toX - x), Math.abs(toY - y))));
      for (let at = 1; at <= steps; at += 1) this.disc(context, width, x + ((toX - x) * at) / steps, y + ((toY - y) * at) / steps);
      [x, y] = [toX, toY];
    }
  }

  disc(context, width, x, y) {
    const corner = (place) => Math.round(place - width / 2); // so many pixels from here on
    const [left, top] = [corner(x), corner(y)];
    for (let row = 0; row < width; row += 1) {
      const away = row + 0.5 - width / 2;
      const inset = Math.round(width / 2 - Math.sqrt((width / 2) ** 2 - away ** 2));
      context.fillRect(left + inset, top + row, width - 2 * inset, 1);
    }
  }

  // White on black, as the server reads masks.
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
    const why = await this.use(canvas);
    if (why === "") this.dialog.close();
    else byId("mask-said").textContent = why;
  }
}

const maskEditor = new MaskEditor(byId("mask-editor"));
maskEditor.start();
