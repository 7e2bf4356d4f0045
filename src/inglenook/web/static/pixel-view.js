// SPDX-License-Identifier: Apache-2.0
// The sprite on its canvas: whole pixels at every zoom, before and after, nine tiles, frames that move.
"use strict";

const MOST_BACKING_PX = 4096; // of a side of the canvas; browsers refuse much more
const stillMotion = matchMedia("(prefers-reduced-motion: reduce)");

const view = {
  canvas: byId("view"),
  frames: [], // {image, png (base64), width, height, offset} of the sprite
  before: [], // pictures that they were made of
  at: 0,
  playing: false,
  timer: 0,
};

async function decoded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

async function showFrames(frames) {
  const images = await Promise.all(frames.map((one) => decoded(`data:image/png;base64,${one.png}`)));
  const first = view.frames.length === 0;
  view.frames = frames.map((one, at) => ({ ...one, image: images[at] }));
  view.at = Math.min(view.at, frames.length - 1);
  byId("stage-empty").hidden = true;
  byId("stage-full").hidden = false;
  showStrip();
  if (frames.length < 2) stop();
  else if (first && !stillMotion.matches) play();
  draw();
}

function showStrip() {
  const several = view.frames.length > 1;
  byId("strip").hidden = byId("play-tools").hidden = !several;
  const items = view.frames.map((one, at) => {
    const button = element("button", { type: "button", "aria-label": `Frame ${at + 1}` }, element("img", { src: one.image.src, alt: "" }));
    button.addEventListener("click", () => {
      stop();
      view.at = at;
      draw();
    });
    return element("li", {}, button);
  });
  byId("strip").replaceChildren(...(several ? items : []));
}

// The largest whole factor at which all of it is seen, or what was chosen as far as a canvas can be.
function factorOf(width, height) {
  const most = Math.max(1, Math.floor(MOST_BACKING_PX / Math.max(width, height)));
  const box = byId("view-box");
  const room = Math.max(64, box.clientWidth - 24);
  const tall = Math.max(256, Math.min(window.innerHeight * 0.62, 640));
  const fit = Math.max(1, Math.floor(Math.min(room / width, tall / height)));
  return Math.min(most, Number(byId("zoom").value) || fit);
}

function draw() {
  const frame = view.frames[view.at];
  if (frame === undefined) return;
  const times = byId("tiled").getAttribute("aria-pressed") === "true" ? 3 : 1;
  const [width, height] = [frame.image.naturalWidth, frame.image.naturalHeight];
  const factor = factorOf(width * times, height * times);
  const [wide, tall] = [width * factor, height * factor];
  view.canvas.width = wide * times;
  view.canvas.height = tall * times;
  const pen = view.canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  for (let x = 0; x < times; x += 1) for (let y = 0; y < times; y += 1) pen.drawImage(frame.image, x * wide, y * tall, wide, tall);
  if (times === 1) drawBefore(pen, frame, factor);
  byId("before").disabled = times > 1 || view.before.length === 0;
  nameView(frame, factor, times);
  for (const [at, button] of byId("strip").querySelectorAll("button").entries()) button.setAttribute("aria-pressed", String(at === view.at));
}

// What it was made of, over the left part, up to the line.
function drawBefore(pen, frame, factor) {
  const part = Number(byId("before").value) / 100;
  const picture = view.before[view.at];
  if (part === 0 || picture === undefined) return;
  const { canvas } = view;
  const [x, y, width, height] = placeOfBefore(picture, frame, factor);
  const line = Math.round(canvas.width * part);
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, line, canvas.height);
  pen.clip();
  pen.clearRect(0, 0, line, canvas.height);
  pen.imageSmoothingEnabled = picture.naturalWidth > width;
  pen.drawImage(picture, x, y, width, height);
  pen.restore();
  pen.fillStyle = "#ff9257";
  if (part < 1) pen.fillRect(line - 1, 0, 2, canvas.height);
}

// Where the picture lies under the sprite: as `fit` has put it there, and from where `trim` has cut it.
function placeOfBefore(picture, frame, factor) {
  const typed = [byId("width"), byId("height")].map((field) => Number(field.value));
  const trimmed = byId("trim").checked;
  const [wide, tall] = (trimmed && typed[0] && typed[1] ? typed : [frame.width, frame.height]).map((side) => side * factor);
  const [left, top] = frame.offset.map((side) => -side * factor);
  const shares = [wide / picture.naturalWidth, tall / picture.naturalHeight];
  const fit = byId("fit").value;
  if (fit === "stretch") return [left, top, wide, tall];
  const scale = fit === "cover" ? Math.max(...shares) : Math.min(...shares);
  const [width, height] = [picture.naturalWidth * scale, picture.naturalHeight * scale];
  return [left + (wide - width) / 2, top + (tall - height) / 2, width, height];
}

function nameView(frame, factor, times) {
  const tiles = times > 1 ? ", nine times side by side" : "";
  const which = view.frames.length > 1 ? `, frame ${view.at + 1} of ${view.frames.length}` : "";
  if (view.playing) return;
  view.canvas.setAttribute("aria-label", `Sprite of ${frame.width} × ${frame.height} pixels, ${factor} times enlarged${which}${tiles}`);
}

// -- frames that move

const frameMs = () => Math.min(65_535, Math.max(10, Number(byId("frame_ms").value) || 120));

function play() {
  if (view.playing) return;
  view.playing = true;
  byId("play").setAttribute("aria-pressed", "true");
  view.timer = setTimeout(next, frameMs());
}

function next() {
  view.at = (view.at + 1) % view.frames.length;
  draw();
  view.timer = setTimeout(next, frameMs());
}

function stop() {
  clearTimeout(view.timer);
  view.playing = false;
  byId("play").setAttribute("aria-pressed", "false");
}

byId("play").addEventListener("click", () => {
  if (view.playing) stop();
  else play();
  draw();
});
byId("zoom").addEventListener("change", draw);
byId("tiled").addEventListener("click", (event) => {
  const pressed = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", String(pressed));
  draw();
});
byId("before").addEventListener("input", (event) => {
  const part = Number(event.target.value);
  event.target.setAttribute("aria-valuetext", part === 0 ? "only the sprite" : `${part} % before`);
  draw();
});
window.addEventListener("resize", draw);
