// SPDX-License-Identifier: Apache-2.0
// Pictures of a message: chosen, dropped, pasted, or taken from the gallery; each is kept at once and named then.
"use strict";

const given = byId("given");
const MOST_PICTURES = 16;

// What the message names: the parts that stand for its pictures.
const givenParts = () => [...given.children].map((item) => JSON.parse(item.dataset.part));

function addPart(part, small, label) {
  const same = [...given.children].some((item) => item.dataset.part === JSON.stringify(part));
  if (same || given.children.length >= MOST_PICTURES) return;
  const item = document.createElement("li");
  item.dataset.part = JSON.stringify(part);
  const image = document.createElement("img");
  image.src = small;
  image.alt = label;
  const away = document.createElement("button");
  away.type = "button";
  away.className = "act";
  away.textContent = "×";
  away.setAttribute("aria-label", `Take out: ${label}`);
  away.addEventListener("click", () => {
    item.remove();
    byId("message").focus();
  });
  item.append(image, away);
  given.append(item);
}

function mayTakePictures() {
  if (takesPictures()) return true;
  const name = chosen()?.dataset.title ?? "The model";
  tellTrouble(`${name} does not see pictures. Choose a model that does, or let it change pictures (Settings).`);
  return false;
}

async function addFiles(files) {
  const pictures = [...files].filter((file) => file.type === "" || file.type.startsWith("image/"));
  if (pictures.length === 0 || !mayTakePictures()) return;
  const body = new FormData();
  for (const file of pictures.slice(0, MOST_PICTURES)) body.append("file", file);
  const kept = await attempt(() => api("POST", "/v1/conversations/pictures", body));
  if (kept === undefined) return;
  kept.data.forEach((one, index) => addPart({ type: "image", blob: one.blob }, one.url, pictures[index].name || "Picture"));
  announce(kept.data.length === 1 ? "Picture added" : `${kept.data.length} pictures added`);
  byId("message").focus();
}

byId("picture-files").addEventListener("change", async (event) => {
  await addFiles(event.target.files);
  event.target.value = "";
});

// -- from the gallery

async function openShelf() {
  if (!mayTakePictures()) return;
  const found = await attempt(() => api("GET", "/v1/pictures?limit=60"));
  if (found === undefined) return;
  byId("shelf-none").hidden = found.data.length > 0;
  byId("shelf-shots").replaceChildren(
    ...found.data.map((picture) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      const image = document.createElement("img");
      image.src = picture.thumbnail_url;
      image.alt = picture.prompt || "Picture";
      image.loading = "lazy";
      button.append(image);
      button.addEventListener("click", () => {
        addPart({ type: "image", picture: picture.id }, picture.thumbnail_url, picture.prompt || "Picture");
        byId("shelf").close();
        byId("message").focus();
      });
      item.append(button);
      return item;
    }),
  );
  byId("shelf").showModal();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-add]") && mayTakePictures()) byId("picture-files").click();
  if (event.target.closest("[data-gallery]")) openShelf();
  if (event.target.closest("#shelf [data-close]")) byId("shelf").close();
});

// -- dropped and pasted

const dropsFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!dropsFiles(event)) return;
  event.preventDefault();
  byId("drop-here").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) byId("drop-here").hidden = true;
});
document.addEventListener("drop", (event) => {
  byId("drop-here").hidden = true;
  if (!dropsFiles(event)) return;
  event.preventDefault();
  addFiles(event.dataTransfer.files);
});
byId("message").addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
  if (files.length === 0) return;
  event.preventDefault();
  addFiles(files);
});
