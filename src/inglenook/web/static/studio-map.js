// SPDX-License-Identifier: Apache-2.0
// The map of a data set: a point a picture on a canvas, coloured by its class. Hover or the arrow keys show a
// picture, a click or Enter opens it.
"use strict";

const mapRoom = document.getElementById("map");
const canvas = document.getElementById("map-canvas");
const card = mapRoom.querySelector("[data-map-card]");
const mapPart = (name) => mapRoom.querySelector(`[data-${name}]`);
const REACH_PX = 14; // how near the pointer must be to a point
const MARGIN_PX = 18;
const TURN = 137.508; // degrees: neighbouring classes get colours that are far apart
const SHOWN_CLASSES = 40;

const mapForm = mapPart("map-form");
let points = []; // {id, x, y, class, filename, at: [x, y] in pixels of the canvas}
let classes = [];
let lookedAt = null;
let hidden = new Set(); // classes that are switched off

const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark" || (document.documentElement.dataset.theme === undefined && systemDark.matches);
const colourOf = (name) => (name === null ? "gray" : `hsl(${(classes.indexOf(name) * TURN) % 360} 62% ${dark() ? 62 : 44}%)`);

function layOut() {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const [halfWidth, halfHeight] = [width / 2 - MARGIN_PX, height / 2 - MARGIN_PX];
  for (const it of points) it.at = [width / 2 + it.x * halfWidth, height / 2 - it.y * halfHeight];
  draw();
}

function draw() {
  const pen = canvas.getContext("2d");
  const scale = window.devicePixelRatio || 1;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  const radius = points.length > 4000 ? 2 : points.length > 800 ? 3 : 4.5;
  pen.globalAlpha = 0.8;
  for (const it of points) {
    if (hidden.has(it.class)) continue;
    pen.fillStyle = colourOf(it.class);
    pen.beginPath();
    pen.arc(it.at[0], it.at[1], radius, 0, 2 * Math.PI);
    pen.fill();
  }
  if (lookedAt === null) return;
  pen.globalAlpha = 1;
  pen.strokeStyle = getComputedStyle(canvas).color;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(lookedAt.at[0], lookedAt.at[1], radius + 4, 0, 2 * Math.PI);
  pen.stroke();
}

function nearest(x, y) {
  let best = null;
  let least = REACH_PX ** 2;
  for (const it of points) {
    if (hidden.has(it.class)) continue;
    const far = (it.at[0] - x) ** 2 + (it.at[1] - y) ** 2;
    if (far < least) [best, least] = [it, far];
  }
  return best;
}

function look(it) {
  if (it === lookedAt) return;
  lookedAt = it;
  card.hidden = it === null;
  if (it !== null) {
    card.querySelector("img").src = apiOf("datasets", `/thumbnails/${encodeURIComponent(it.filename)}?size=128`);
    card.querySelector("figcaption").textContent = `${it.filename} · ${it.class ?? "no class"}`;
  }
  draw();
}

function at(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left - canvas.clientLeft, event.clientY - box.top - canvas.clientTop];
}

canvas.addEventListener("pointermove", (event) => look(nearest(...at(event))));
canvas.addEventListener("pointerleave", () => look(null));
canvas.addEventListener("click", (event) => {
  const it = nearest(...at(event));
  if (it !== null) openPicture(it.id);
});

// With the keys: to the nearest point on that side.
canvas.addEventListener("keydown", (event) => {
  const sides = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key === "Enter" && lookedAt !== null) return openPicture(lookedAt.id);
  const side = sides[event.key];
  if (side === undefined) return;
  event.preventDefault();
  const from = lookedAt?.at ?? [canvas.clientWidth / 2, canvas.clientHeight / 2];
  let best = null;
  let least = Infinity;
  for (const it of points) {
    if (hidden.has(it.class) || it === lookedAt) continue;
    const [dx, dy] = [it.at[0] - from[0], it.at[1] - from[1]];
    const along = dx * side[0] + dy * side[1];
    const aside = Math.abs(dx * side[1]) + Math.abs(dy * side[0]);
    if ((along > 0 || lookedAt === null) && Math.abs(along) + 2 * aside < least) [best, least] = [it, Math.abs(along) + 2 * aside];
  }
  if (best !== null) {
    look(best);
    announce(`${best.filename}, ${best.class ?? "no class"}`);
  }
});

// In the viewer the next one is the nearest that was not seen yet on this walk.
const walked = [];
neighbourId = (id, step) => {
  if (step < 0) return walked[walked.indexOf(id) + step];
  const here = points.find((it) => it.id === id);
  if (here === undefined || step > 1) return here && points[0].id;
  if (!walked.includes(id)) walked.push(id);
  const known = walked[walked.indexOf(id) + 1];
  if (known !== undefined) return known;
  let best;
  let least = Infinity;
  for (const it of points) {
    const far = (it.x - here.x) ** 2 + (it.y - here.y) ** 2;
    if (far < least && !walked.includes(it.id)) [best, least] = [it, far];
  }
  return best?.id;
};
document.getElementById("details").addEventListener("close", () => {
  walked.length = 0;
  canvas.focus();
});

// The key: a class is a switch.
function showKey() {
  const counted = new Map();
  for (const it of points) counted.set(it.class, (counted.get(it.class) ?? 0) + 1);
  classes = [...counted.keys()].filter((name) => name !== null).sort();
  const rows = [...classes, ...(counted.has(null) ? [null] : [])].slice(0, SHOWN_CLASSES).map((name) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.setAttribute("aria-pressed", String(!hidden.has(name)));
    const mark = document.createElement("span");
    mark.className = "map-mark";
    mark.style.background = colourOf(name);
    button.append(mark, `${name ?? "no class"} (${counted.get(name)})`);
    button.addEventListener("click", () => {
      if (hidden.has(name)) hidden.delete(name);
      else hidden.add(name);
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
      draw();
    });
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  mapPart("map-key").replaceChildren(...rows);
}

function showMap({ map, stale, points: found }) {
  points = found;
  const none = map === null;
  mapPart("map-none").hidden = !none;
  mapPart("map-room").hidden = none;
  mapPart("map-words").textContent = none ? "" : mapWords(map, stale);
  if (none) return;
  showKey();
  layOut();
}

function mapWords(map, stale) {
  const words = [`${map.shown.toLocaleString()} of ${map.pictures.toLocaleString()} pictures`, map.weights, map.request.method === "tsne" ? "t-SNE" : "PCA"];
  if (stale) words.push(`of version ${map.dataset_version}; the data set has changed since`);
  return words.join(" · ");
}

async function fetchMap() {
  const found = await askStudio("GET", apiOf("datasets", "/map")).catch(() => null);
  if (found === null) {
    mapPart("map-words").textContent = "The map cannot be read now.";
    return;
  }
  showMap(found);
  if (found.job) followMap(found.job);
}

function followMap(jobId) {
  const course = mapPart("course");
  const bar = course.querySelector("progress");
  course.hidden = false;
  if (mapForm !== null) mapForm.hidden = true;
  bar.removeAttribute("value");
  mapPart("course-stop").onclick = () => askApi("POST", `/v1/jobs/${jobId}/cancel`).catch(() => {});
  watchJob(jobId, {
    progress: ({ progress, stage }) => {
      if (progress > 0) bar.value = 100 * progress;
      mapPart("course-line").textContent = stage === "lay out" ? "Laying the pictures out" : "Looking at the pictures";
    },
    ended: (job) => {
      course.hidden = true;
      if (mapForm !== null) mapForm.hidden = false;
      if (job.state === "succeeded") return fetchMap();
      tellTrouble(job.error?.message ?? "The map was not made: it was stopped.");
    },
  });
}

mapForm?.addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = { method: document.getElementById("map-method").value };
  const [kind, name] = document.getElementById("map-eye").value.split(":");
  if (kind === "experiment") asked.experiment_id = name;
  if (kind === "backbone") asked.backbone = name;
  askStudio("POST", apiOf("datasets", "/map?wait=false"), asked).then((job) => followMap(job.id), () => {});
});

new ResizeObserver(() => points.length > 0 && layOut()).observe(canvas);
themeButton.addEventListener("click", () => points.length > 0 && (showKey(), draw()));
systemDark.addEventListener("change", () => points.length > 0 && (showKey(), draw()));
fetchMap();
