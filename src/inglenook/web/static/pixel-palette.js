// SPDX-License-Identifier: Apache-2.0
// The palette: of the picture, with a name, or one's own, whose colours are changed, added, removed and locked.
"use strict";

const MOST_COLORS = 256;
const palette = { own: [], locked: new Set(), found: [] }; // own: "#rrggbb" in order; locked: of them; found: in the last sprite

const paletteMode = () => byId("palette").value;

// Of a palette with a name, six digits each; undefined for any other choice.
const namedColors = (option) => option?.dataset.colors?.match(/.{6}/g).map((digits) => `#${digits}`);

function shownColors() {
  if (paletteMode() === "own") return palette.own;
  const named = namedColors(byId("palette").selectedOptions[0]);
  return named ?? palette.found;
}

// The palette of a recipe: a name, a list, or undefined for the picture's own colours.
function paletteOfRecipe() {
  const mode = paletteMode();
  if (mode === "") return undefined;
  return mode === "own" ? palette.own : mode;
}

// From now on the colours are one's own, as they are shown.
function takeOver(colors) {
  palette.own = colors.slice(0, MOST_COLORS);
  palette.locked = new Set([...palette.locked].filter((color) => palette.own.includes(color)));
  byId("palette").value = "own";
  byId("colors").value = "";
  drawSwatches();
  paletteChanged();
}

// To a recipe's palette: colours, or null for the picture's own. One that is chosen already, or has a name, keeps it.
function setPalette(colors) {
  const same = (other) => other.length === colors?.length && other.every((color, at) => color === colors[at]);
  const field = byId("palette");
  if (colors === null) field.value = "";
  else if (paletteMode() !== "" && same(shownColors())) return;
  else {
    const named = [...field.options].find((option) => same(namedColors(option) ?? []));
    if (named === undefined) palette.own = colors;
    field.value = named?.value ?? "own";
  }
  palette.locked.clear();
  drawSwatches();
  keepForm({ own: palette.own, locked: [] });
}

function paletteChanged() {
  keepForm({ own: palette.own, locked: [...palette.locked] });
  convertSoon();
}

function swatch(color, at) {
  const locked = palette.locked.has(color);
  const field = element("input", { type: "color", value: color, "aria-label": `Colour ${at + 1}, ${color}` });
  field.addEventListener("change", () => changeColor(at, field.value));
  const lock = element("button", { type: "button", title: locked ? "Unlock" : "Lock", "aria-label": `Lock ${color}`, "aria-pressed": String(locked) }, iconOf("lock"));
  lock.addEventListener("click", () => toggleLock(at));
  const bin = element("button", { type: "button", title: "Remove", "aria-label": `Remove ${color}` }, iconOf("bin"));
  bin.addEventListener("click", () => removeColor(at));
  return element("li", { className: "swatch" }, field, lock, bin);
}

function drawSwatches() {
  byId("swatches").replaceChildren(...shownColors().map(swatch));
}

function focusSwatch(at, part) {
  const items = byId("swatches").children;
  const item = items[Math.min(at, items.length - 1)];
  (item?.querySelector(part) ?? byId("swatch-add")).focus();
}

function changeColor(at, color) {
  const colors = [...shownColors()];
  if (palette.locked.delete(colors[at])) palette.locked.add(color);
  colors[at] = color;
  takeOver(colors);
  focusSwatch(at, "input");
}

function toggleLock(at) {
  const colors = [...shownColors()];
  if (!palette.locked.delete(colors[at])) palette.locked.add(colors[at]);
  if (paletteMode() === "own") {
    drawSwatches();
    keepForm({ locked: [...palette.locked] });
  } else takeOver(colors);
  focusSwatch(at, "button");
}

function removeColor(at) {
  const colors = [...shownColors()];
  palette.locked.delete(colors[at]);
  colors.splice(at, 1);
  takeOver(colors);
  focusSwatch(at, "button:last-child");
}

// Locked colours stay; the others are chosen from the picture, each time from another start.
async function chooseRest() {
  const colors = shownColors();
  const kept = colors.filter((color) => palette.locked.has(color));
  const wanted = Math.max(colors.length, kept.length + 1) - kept.length;
  byId("seed").value = String(Number(byId("seed").value || 0) + 1);
  const recipe = { ...recipeOf(), palette: undefined, colors: Math.min(wanted, MOST_COLORS - kept.length), seed: Number(byId("seed").value) };
  try {
    const made = await askJson("POST", "/v1/pixel/convert", { body: convertForm(recipe) });
    takeOver([...new Set([...kept, ...made.palette])]);
    announce(`${kept.length} colours kept, ${byId("swatches").children.length - kept.length} chosen`);
  } catch (error) {
    tellError(error, "palette");
  }
}

async function readPaletteFile(file) {
  const form = new FormData();
  form.append("file", file);
  form.append("name", file.name);
  clearErrors(byId("recipe-form"));
  try {
    const read = await askJson("POST", "/v1/pixel/palettes/read", { body: form });
    palette.locked.clear();
    takeOver(read.colors);
    announce(`${read.colors.length} colours of ${file.name}`);
  } catch (error) {
    if (error instanceof Refused) error.field = "file"; // whatever is wrong in it, the file is what was chosen
    tellError(error, "file");
  }
}

byId("swatch-add").addEventListener("click", () => {
  const colors = shownColors();
  if (colors.length >= MOST_COLORS) return announce(`A palette has at most ${MOST_COLORS} colours`);
  let color = "#808080";
  for (let grey = 129; colors.includes(color) && grey < 256; grey += 1) color = `#${grey.toString(16).padStart(2, "0").repeat(3)}`;
  takeOver([...colors, color]);
  focusSwatch(colors.length, "input");
});
byId("swatch-anew").addEventListener("click", () => {
  if (source.kind === "none") announce("Open a picture first");
  else chooseRest();
});
byId("palette-file").addEventListener("change", (event) => {
  if (event.target.files.length > 0) readPaletteFile(event.target.files[0]);
  event.target.value = "";
});
byId("palette").addEventListener("change", () => {
  if (paletteMode() === "own" && palette.own.length === 0) palette.own = palette.found.length > 0 ? [...palette.found] : ["#000000", "#ffffff"];
  if (paletteMode() === "") {
    palette.locked.clear();
    if (byId("colors").value === "") byId("colors").value = FIRST_FIELDS.colors;
  } else byId("colors").value = "";
  drawSwatches();
  paletteChanged();
});

function restorePalette() {
  const kept = readKept();
  palette.own = (Array.isArray(kept.own) ? kept.own : []).filter((color) => /^#[0-9a-f]{6}$/.test(color));
  palette.locked = new Set(palette.own.filter((color) => kept.locked?.includes(color)));
  if (paletteMode() === "own" && palette.own.length === 0) byId("palette").value = "";
  drawSwatches();
}
restorePalette();
