// SPDX-License-Identifier: Apache-2.0
// The sprite is taken along: a file of each format, a place in the gallery; a picture is chosen out of it.
"use strict";

const PICTURES_AT_ONCE = 24;

const levelsOf = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

// Whether a file of that format has a place for a field; what has none is refused.
const holds = (format, field) =>
  byId("format").querySelector(`[value="${format}"]`).dataset.holds.split(" ").includes(field);

function exportForm(format, more = {}) {
  const form = new FormData();
  const frames = framesOpen();
  for (const [at, frame] of frames.entries()) form.append("frames", new Blob([bytesOf(frame.png)], { type: "image/png" }), `${at + 1}.png`);
  const spec = { format, name: byId("file_name").value.trim() || "sprite", scale: Number(byId("scale").value || 1), ...more };
  if (frames.length > 1 && holds(format, "durations_ms")) spec.durations_ms = frames.map(() => Number(byId("frame_ms").value));
  if (sprite.palette !== null && holds(format, "palette")) spec.palette = sprite.palette.map(levelsOf);
  form.append("spec", JSON.stringify(spec));
  return form;
}

// Fields that the format has no place for are not shown, and not sent.
function formatFields() {
  const format = byId("format").value;
  const [sheet, enlarged] = [holds(format, "columns"), holds(format, "scale")];
  for (const field of document.querySelectorAll("[data-sheet]")) field.hidden = !sheet;
  document.querySelector("[data-enlarged]").hidden = !enlarged;
  const fields = sheet ? Object.fromEntries(["columns", "padding"].map((id) => [id, valueOfNumber(byId(id))])) : {};
  return enlarged ? fields : { ...fields, scale: 1 };
}

// Frames go into files that hold several.
function fitFormats() {
  const several = framesOpen().length > 1;
  for (const option of byId("format").options) option.disabled = several && !holds(option.value, "durations_ms");
  if (byId("format").selectedOptions[0].disabled) byId("format").value = "gif";
  formatFields();
}

const valueOfNumber = (field) => (field.value === "" ? undefined : Number(field.value));

function nameIn(answer) {
  const said = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") ?? "");
  return said === null ? "sprite" : decodeURIComponent(said[1]);
}

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const RENAMED = { durations_ms: "frame_ms", frames: "format" };
const fileForm = byId("file-form");

fileForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearErrors(fileForm);
  clearErrors(byId("stage-full"));
  const button = fileForm.querySelector(".go");
  button.disabled = true;
  try {
    const answer = await ask("POST", "/v1/pixel/export", { body: exportForm(byId("format").value, formatFields()) });
    save(await answer.blob(), nameIn(answer));
    announce(`${nameIn(answer)} is downloaded`);
  } catch (error) {
    tellError(error, "frames", RENAMED);
  } finally {
    button.disabled = false;
  }
});
byId("format").addEventListener("change", formatFields);
formatFields();

// As the server keeps what it draws: a still sprite as its PNG, an animation that plays with its frames beside it.
byId("keep").addEventListener("click", async () => {
  clearErrors(fileForm);
  byId("keep").disabled = true;
  try {
    const form = convertForm(shown.recipe, shown.source);
    form.append("keep", "true");
    form.append("frame_ms", byId("frame_ms").value);
    const kept = await askJson("POST", "/v1/pixel/convert", { body: form });
    const link = element("a", { href: `/pictures/${kept.picture_id}`, textContent: "Look at it" });
    byId("kept").replaceChildren("It is in the gallery. ", link);
  } catch (error) {
    tellError(error, "frames", RENAMED);
  } finally {
    byId("keep").disabled = false;
  }
});

// -- out of the gallery

const gallery = byId("gallery");
let lastShown = "";

function galleryItem(picture) {
  const words = picture.prompt || "a picture without words";
  const image = element("img", { src: `/v1/pictures/${picture.id}/thumbnail`, alt: words.slice(0, 200), loading: "lazy" });
  const button = element("button", { type: "button" }, image);
  button.addEventListener("click", () => {
    gallery.close();
    const duration = picture.parameters.sprite?.durations_ms?.[0];
    if (duration !== undefined) byId("frame_ms").value = duration;
    openPicture(picture.id);
    announce("Picture opened");
  });
  return element("li", {}, button);
}

async function morePictures() {
  const state = byId("gallery-state");
  state.textContent = "Looking…";
  try {
    const found = await askJson("GET", `/v1/pictures?limit=${PICTURES_AT_ONCE}${lastShown && `&before=${lastShown}`}`);
    byId("gallery-list").append(...found.data.map(galleryItem));
    lastShown = found.data.at(-1)?.id ?? lastShown;
    byId("gallery-more").hidden = !found.has_more;
    state.textContent = byId("gallery-list").children.length === 0 ? "The gallery is empty. What you draw is kept there." : "";
  } catch (error) {
    if (!(error instanceof Refused || error instanceof TypeError)) throw error;
    state.textContent = error instanceof Refused ? error.message : SILENT;
  }
}

byId("gallery-open").addEventListener("click", () => {
  byId("gallery-list").replaceChildren();
  lastShown = "";
  gallery.showModal();
  morePictures();
});
byId("gallery-more").addEventListener("click", morePictures);
