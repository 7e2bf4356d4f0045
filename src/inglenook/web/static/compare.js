// SPDX-License-Identifier: Apache-2.0
// Two pictures beside each other, or one over the other with a line that is moved, and what they differ in.
"use strict";

const compare = document.getElementById("compare");
const stage = compare.querySelector(".compare-stage");
const slide = document.getElementById("compare-at");
const NOT_COMPARED = new Set(["software", "file", "seconds", "image", "mask", "foreign"]);

async function compareTwo(ids) {
  const both = await Promise.all(ids.map((id) => askApi("GET", `/v1/pictures/${id}`))).catch(() => null);
  if (both === null) return;
  for (const [side, picture] of [["a", both[0]], ["b", both[1]]]) {
    const image = stage.querySelector(`[data-side="${side}"]`);
    image.src = picture.url;
    image.width = picture.width;
    image.height = picture.height;
    image.alt = `${side === "a" ? "First" : "Second"}: ${picture.prompt.slice(0, 200)}`;
    image.classList.toggle("pixels", Math.max(picture.width, picture.height) <= 256);
  }
  stage.style.setProperty("--shape", `${both[0].width} / ${both[0].height}`);
  tellDifferences(both);
  move();
  compare.showModal();
}

function tellDifferences([first, second]) {
  const said = (picture) => ({ ...picture.parameters, prompt: picture.prompt, model: picture.model, seed: picture.seed });
  const [a, b] = [said(first), said(second)];
  const names = [...new Set(["prompt", "negative_prompt", "model", "seed", ...Object.keys(a), ...Object.keys(b)])];
  const rows = names
    .filter((name) => !NOT_COMPARED.has(name) && (wordsOf(a[name]) !== "" || wordsOf(b[name]) !== ""))
    .map((name) => row(name, wordsOf(a[name]), wordsOf(b[name])));
  compare.querySelector("tbody").replaceChildren(...rows);
}

function wordsOf(value) {
  if (value === null || value === undefined || value === false || (Array.isArray(value) && value.length === 0)) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function row(name, a, b) {
  const line = document.createElement("tr");
  line.classList.toggle("differs", a !== b);
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name.replaceAll("_", " ");
  if (a !== b) {
    const mark = document.createElement("span");
    mark.className = "unseen";
    mark.textContent = " (differs)";
    head.append(mark);
  }
  line.append(head);
  for (const text of [a, b]) {
    const cell = document.createElement("td");
    cell.dir = "auto";
    cell.textContent = text === "" ? "–" : text;
    line.append(cell);
  }
  return line;
}

function move() {
  stage.style.setProperty("--at", `${slide.value}%`);
}
slide.addEventListener("input", move);

compare.addEventListener("change", (event) => {
  if (event.target.name !== "compare-way") return;
  stage.dataset.way = event.target.value;
  compare.querySelector(".compare-slide").hidden = event.target.value !== "slider";
});

// The line can be moved on the picture itself; the slider below it is for the keyboard.
stage.addEventListener("pointerdown", (event) => {
  if (stage.dataset.way !== "slider") return;
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
  follow(event);
});
stage.addEventListener("pointermove", (event) => stage.hasPointerCapture(event.pointerId) && follow(event));

function follow(event) {
  const box = stage.getBoundingClientRect();
  slide.value = String(Math.round((100 * (event.clientX - box.left)) / box.width));
  move();
}

compare.addEventListener("click", (event) => {
  if (event.target === compare || event.target.closest("[data-close]")) compare.close();
});
