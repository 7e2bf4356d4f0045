// SPDX-License-Identifier: Apache-2.0
// What is drawn from: words alone, the open sprite, a part of it inside a mask, the tile beside it.
"use strict";

// The mask: {address, width, height, count of pixels that it opens, frame it was painted on}, or null.
const over = { mask: null };

const overMode = () => byId("over").value;
const framesOpen = () => (sprite === null ? [] : (sprite.frames ?? [sprite]));
const pngAddress = (png) => `data:image/png;base64,${png}`;

// What a request says of it. Raises Refused where something is missing.
function overBody() {
  const mode = overMode();
  if (mode === "") return {};
  if (sprite === null) throw new Refused({ message: "No sprite is open to draw from: open a picture first.", param: "over" });
  const body = { image: pngAddress(framesOpen()[view.at].png) };
  if (mode === "tile") return { ...body, continue_tile: made("continue_tile") };
  body.strength = made("strength");
  if (mode === "all") return body;
  if (over.mask === null) throw new Refused({ message: "Nothing is marked: paint what is to be drawn anew.", param: "mask" });
  return { ...body, image: pngAddress(framesOpen()[over.mask.frame].png), mask: over.mask.address };
}

// Only what means something now is shown; beside the button stands what it will do.
function showOver() {
  for (const part of document.querySelectorAll("[data-over]")) part.hidden = !part.dataset.over.split(" ").includes(overMode());
  const side = byId("continue_tile").selectedOptions[0].textContent;
  const marked = over.mask === null ? "inside the mask" : `in ${over.mask.count} marked pixels`;
  const said = {
    "": "in the size and colours chosen below",
    all: "over the open sprite, in its size",
    mask: `${marked} of the open sprite; the rest stays as it is`,
    tile: `the tile ${["right", "left"].includes(side) ? `to the ${side} of` : side} the open sprite, in its size`,
  };
  byId("make-how").textContent = said[overMode()];
}

function setOver(mode) {
  byId("over").value = mode;
  byId("over").dispatchEvent(new Event("change", { bubbles: true }));
}

// -- the mask

function paintMask() {
  if (sprite === null) return tellError(new Refused({ message: "No sprite is open to paint on: open a picture first.", param: "over" }), "over");
  stop();
  clearErrors(makeForm);
  const frame = view.at;
  maskEditor.open({
    source: view.frames[frame].image.src,
    kept: byId("mask-kept").querySelector("[data-mask]"),
    crisp: true,
    use: (canvas) => takeMask(canvas, frame),
  });
}

async function takeMask(canvas, frame) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) if (data[at] >= 128) count += 1;
  if (count === 0) return "Nothing is marked, so nothing would be redrawn.";
  over.mask = { address: canvas.toDataURL("image/png"), width: canvas.width, height: canvas.height, count, frame };
  setOver("mask");
  byId("fold-over").open = true;
  await showMask(canvas);
  announce(`${count} pixels are marked`);
  return "";
}

// The sprite with what is marked on it, and the mask itself for the editor, which begins with it.
async function showMask(canvas) {
  const pair = element("canvas", { width: canvas.width, height: canvas.height });
  const pen = pair.getContext("2d");
  pen.drawImage(canvas, 0, 0);
  pen.globalCompositeOperation = "multiply";
  pen.fillStyle = MASK_COLOUR;
  pen.fillRect(0, 0, pair.width, pair.height);
  pen.globalCompositeOperation = "lighten";
  pen.drawImage(view.frames[over.mask.frame].image, 0, 0);
  const words = `${over.mask.count} of ${canvas.width * canvas.height} pixels are drawn anew`;
  const shown = element("img", { src: pair.toDataURL(), alt: `The sprite, marked: ${words}` });
  const mask = element("img", { src: over.mask.address, alt: "", hidden: true });
  mask.dataset.mask = "";
  const drop = element("button", { type: "button", className: "quiet", textContent: "Leave it out" });
  drop.addEventListener("click", () => {
    dropMask();
    byId("mask-paint").focus();
  });
  byId("mask-kept").replaceChildren(element("div", { className: "mask" }, shown, mask, element("p", { className: "help", textContent: words }), drop));
  showOver();
}

function dropMask() {
  over.mask = null;
  byId("mask-kept").replaceChildren();
  showOver();
}

// A mask is for a sprite of its own size and for a frame that is there.
function fitMask() {
  if (over.mask === null) return;
  const frame = framesOpen()[over.mask.frame];
  if (frame?.width === over.mask.width && frame.height === over.mask.height) return;
  dropMask();
  announce("The sprite has another size now: the mask was left out");
}

byId("over").addEventListener("change", showOver);
byId("continue_tile").addEventListener("change", showOver);
byId("mask-paint").addEventListener("click", paintMask);
byId("mask-start").addEventListener("click", paintMask);
showOver();
