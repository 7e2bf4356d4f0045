// SPDX-License-Identifier: Apache-2.0
// A picture becomes a sprite, anew with each change: debounced, the last answer wins.
"use strict";

const PAUSE_MS = 220;
const MOST_KEPT_CHARS = 3_500_000; // of pictures that outlive a reload; a browser gives a page about 5 million
const KEPT_PICTURES = "inglenook-pixels-pictures";

// kind: none, files (of this machine) or gallery. files: File or Blob. picture: an id. of: drawing or file.
let source = { kind: "none", files: [], picture: "", of: "drawing" };
let turn = 0; // counts what was asked; only the answer to the last one is shown
let asking = null; // AbortController of the request under way
let pause = 0;
let sprite = null; // the last answer
let shown = null; // {recipe, source} that it is the answer to
let lastAsked = ""; // the last recipe that was sent, as text

function recipeOf() {
  const recipe = {};
  for (const field of document.querySelectorAll("#recipe-form [data-kind]")) {
    const value = valueOf(field);
    if (value !== undefined) recipe[field.name] = value;
  }
  const colors = paletteOfRecipe();
  if (colors !== undefined) recipe.palette = colors;
  return recipe;
}

// The controls as a recipe says; what it lacks is as at first.
function fillRecipe(recipe) {
  const fields = firstRecipe();
  for (const field of document.querySelectorAll("#recipe-form [data-kind]")) {
    const value = recipe[field.name];
    if (value === undefined) continue;
    if (field.dataset.kind === "optional-color") fields[`${field.id}-auto`] = value === null;
    if (field.dataset.kind.endsWith("color") && value !== null) fields[field.id] = hexOf(value);
    else if (!field.dataset.kind.endsWith("color")) fields[field.id] = typeof value === "boolean" ? value : String(value ?? "");
  }
  delete fields.palette; // it has an editor of its own
  fillForm(fields);
  setPalette(recipe.palette?.map(hexOf) ?? null);
  showSizePick();
  keepForm();
}

const hexOf = (color) => (typeof color === "string" ? color : `#${color.map((level) => level.toString(16).padStart(2, "0")).join("")}`);

const firstRecipe = () => Object.fromEntries(Object.entries(FIRST_FIELDS).filter(([id]) => byId(id).closest("#recipe-form") !== null));

function convertForm(recipe, from = source) {
  const form = new FormData();
  if (from.kind === "gallery") {
    form.append("picture_id", from.picture);
    form.append("source", from.of);
  } else for (const file of from.files) form.append("image", file, file.name || "picture.png");
  form.append("recipe", JSON.stringify(recipe));
  form.append("animation", "true");
  return form;
}

function convertSoon() {
  clearTimeout(pause);
  if (source.kind !== "none") pause = setTimeout(convert, PAUSE_MS);
}

async function convert() {
  clearTimeout(pause);
  asking?.abort();
  asking = new AbortController();
  turn += 1;
  const mine = turn;
  busy(true);
  try {
    const asked = { recipe: recipeOf(), source };
    lastAsked = JSON.stringify(asked.recipe);
    const made = await askJson("POST", "/v1/pixel/convert", { body: convertForm(asked.recipe), signal: asking.signal });
    if (mine !== turn) return;
    shown = asked;
    clearErrors(byId("recipe-form"));
    byId("error-image").hidden = true;
    await showSprite(made);
  } catch (error) {
    if (mine !== turn || error.name === "AbortError") return;
    clearErrors(byId("recipe-form"));
    tellError(error, "image", { frames: "image" });
    byId("stage-state").textContent = sprite === null ? "" : "This is the sprite as it was before.";
    if (error instanceof TypeError) setTimeout(() => mine === turn && convert(), 3000);
  } finally {
    if (mine === turn) busy(false);
  }
}

function busy(is) {
  document.body.classList.toggle("is-working", is);
  if (is) byId("stage-state").textContent = sprite === null ? "Working…" : byId("stage-state").textContent;
}

async function showSprite(made) {
  sprite = made;
  palette.found = made.palette ?? [];
  await showFrames(made.frames ?? [made]);
  fitMask();
  fitFormats();
  if (paletteMode() === "") drawSwatches();
  showProof(made);
  showSizePick();
  byId("kept").textContent = "";
  byId("stage-state").textContent = `${made.width} × ${made.height}, ${made.proof.colors} ${made.proof.colors === 1 ? "colour" : "colours"}`;
}

// -- what was counted

const plain = (number) => String(Math.round(number * 100) / 100);

function gridWords(grid) {
  if (byId("grid").value === "off") return "not looked for";
  if (grid === null) return "none found: divided evenly";
  return `cells of ${plain(grid.period_x)} × ${plain(grid.period_y)} pixels, from ${plain(grid.phase_x)}, ${plain(grid.phase_y)}; ${Math.round(grid.confidence * 100)} % sure`;
}

function seamWords(proof) {
  const said = [["across", proof.seam_x], ["down", proof.seam_y]].filter(([, seam]) => seam !== null).map(([way, seam]) => `${plain(seam)} ${way}`);
  return said.length === 0 ? "none" : `${said.join(", ")} (about 1 or less tiles)`;
}

function paletteWords(made) {
  if (made.palette === null) return "none: every colour is kept";
  const off = made.proof.off_palette;
  return off === 0 ? `every pixel is in the palette of ${made.palette.length}` : `${off} pixels are not in the palette of ${made.palette.length}`;
}

function showProof(made) {
  const facts = {
    Size: `${made.proof.width} × ${made.proof.height}`,
    Colours: String(made.proof.colors),
    Palette: paletteWords(made),
    Alpha: made.proof.alphas.join(", "),
    Grid: gridWords(made.grid),
    Seam: seamWords(made.proof),
    Pivot: made.pivot.join(", ") + (made.offset.some((one) => one !== 0) ? `; cut from ${made.offset.join(", ")}` : ""),
  };
  const rows = Object.entries(facts).map(([name, words]) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: words })));
  byId("proof").replaceChildren(...rows);
  const notes = [...new Set((made.frames ?? [made]).flatMap((one) => one.notes))];
  byId("notes").replaceChildren(...notes.map((note) => element("li", { textContent: note })));
}

// -- where the picture comes from

async function openFiles(files) {
  const pictures = [...files].filter((file) => file.type === "" || file.type.startsWith("image/"));
  if (pictures.length === 0) return tellError(new Refused({ message: "That is no picture.", param: "image" }), "image");
  source = { kind: "files", files: pictures, picture: "", of: "file" };
  dropMask();
  announce(pictures.length === 1 ? "Picture opened" : `${pictures.length} pictures opened as frames`);
  keepPictures(pictures);
  begin();
  const mine = source;
  const before = (await Promise.all(pictures.map((file) => decoded(URL.createObjectURL(file)).catch(() => undefined)))).filter(Boolean);
  if (mine === source) view.before = before;
  draw();
}

async function openPicture(picture, { of = "drawing", keepsMask = false } = {}) {
  source = { kind: "gallery", files: [], picture, of };
  if (!keepsMask) dropMask();
  sessionStorage.removeItem(KEPT_PICTURES);
  begin();
  // All colours at the picture's own size: the drawing as it was, also where the gallery has the sprite.
  const whole = { grid: "off", colors: 0, reduction: "nearest", alpha_threshold: 1 };
  try {
    const mine = source;
    const made = await askJson("POST", "/v1/pixel/convert", { body: convertForm(whole) });
    const before = await Promise.all((made.frames ?? [made]).map((one) => decoded(`data:image/png;base64,${one.png}`)));
    if (mine === source) view.before = before;
    draw();
  } catch (error) {
    if (!(error instanceof Refused)) tellError(error, "image");
    // a refusal is told by the sprite itself, which was asked for too
  }
}

function begin() {
  stop();
  sprite = null;
  view.frames = [];
  view.before = [];
  view.at = 0;
  keepForm({ picture: source.picture, of: source.of });
  clearErrors(document.querySelector(".stage"));
  convert();
}

const asAddress = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

// Pictures of this machine outlive a reload in this tab, as far as a browser keeps so much.
async function keepPictures(files) {
  sessionStorage.removeItem(KEPT_PICTURES);
  if (files.reduce((sum, file) => sum + file.size, 0) * 1.4 > MOST_KEPT_CHARS) return;
  const kept = await Promise.all(files.map(async (file) => ({ name: file.name, address: await asAddress(file) })));
  try {
    sessionStorage.setItem(KEPT_PICTURES, JSON.stringify(kept));
  } catch {
    // full: the picture lives as long as the page
  }
}

function fileOf({ name, address }) {
  const [head, data] = address.split(",");
  return new File([bytesOf(data)], name, { type: head.slice(5).split(";")[0] });
}

function restoreSource() {
  const asked = new URLSearchParams(location.search).get("picture");
  const kept = readKept();
  const files = JSON.parse(sessionStorage.getItem(KEPT_PICTURES) ?? "null");
  if (asked) openPicture(asked);
  else if (files !== null) openFiles(files.map(fileOf));
  else if (kept.picture) openPicture(kept.picture, { of: kept.of });
}

byId("picture").addEventListener("change", (event) => {
  if (event.target.files.length > 0) openFiles(event.target.files);
  event.target.value = "";
});
const bringsFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!bringsFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("is-dropping");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("is-dropping");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("is-dropping");
  if (!bringsFiles(event)) return;
  event.preventDefault();
  openFiles(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length === 0) return;
  event.preventDefault();
  openFiles(event.clipboardData.files);
});

// -- the controls

const recipeForm = byId("recipe-form");
recipeForm.addEventListener("submit", (event) => event.preventDefault());
for (const kind of ["input", "change"]) {
  recipeForm.addEventListener(kind, (event) => {
    // A field that is left tells its value once more.
    if (event.target.matches("[data-kind], [id$='-auto']") && JSON.stringify(recipeOf()) !== lastAsked) convertSoon();
    if (event.target.matches("#width, #height")) showSizePick();
  });
}

function showSizePick() {
  const now = `${byId("width").value}x${byId("height").value}`;
  for (const button of document.querySelectorAll("[data-size]")) button.setAttribute("aria-pressed", String(button.dataset.size === now));
}

recipeForm.addEventListener("click", (event) => {
  const pick = event.target.closest("[data-size]");
  if (pick === null) return;
  [byId("width").value, byId("height").value] = pick.dataset.size.split("x");
  showSizePick();
  keepForm();
  convertSoon();
});
byId("recipe-reset").addEventListener("click", () => {
  palette.locked.clear();
  fillForm(firstRecipe());
  drawSwatches();
  showSizePick();
  keepForm();
  clearErrors(recipeForm);
  convertSoon();
});

showSizePick();
restoreSource();
