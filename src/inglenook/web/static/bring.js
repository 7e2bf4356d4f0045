// SPDX-License-Identifier: Apache-2.0
// Pictures from elsewhere: chosen or dropped, sent one by one, with ALICE's gallery.json where it lies beside them.
"use strict";

const bringButton = document.querySelector("[data-bring]");
const bringFiles = document.getElementById("bring-files");
const dropHere = document.getElementById("drop-here");
let dragged = 0; // how many elements deep a file is being dragged

async function bring(files) {
  const lists = files.filter((file) => file.name.toLowerCase().endsWith(".json"));
  const pictures = files.filter((file) => !lists.includes(file));
  const records = await recordsOf(lists);
  if (pictures.length === 0) {
    tellTrouble("There is no picture among these files.");
    return;
  }
  const kept = [];
  const refused = [];
  for (const [number, file] of pictures.entries()) {
    showToast(`Importing ${number + 1} of ${pictures.length}…`);
    const form = new FormData();
    form.append("file", file, file.name);
    const record = records.get(file.name);
    if (record !== undefined) {
      form.append("gallery", new Blob([JSON.stringify({ images: { it: { ...record, filename: file.name } } })], { type: "application/json" }), "gallery.json");
    }
    const answer = await askApi("POST", "/v1/pictures/import", form).catch((error) => ({
      data: [],
      refused: [{ name: file.name, error: { message: error.message } }],
    }));
    kept.push(...answer.data.map((picture) => picture.id));
    refused.push(...answer.refused);
  }
  await showShelfAnew();
  if (refused.length > 0) {
    tellTrouble(refused.map((one) => `${one.name}: ${one.error.message}`).slice(0, 5).join("\n"));
  }
  showToast(
    `${countWords(kept.length, "picture was", "pictures were")} imported${refused.length > 0 ? `, ${refused.length} not` : ""}.`,
    kept.length === 0
      ? null
      : async () => {
          await forIds("/v1/pictures/trash", kept);
          await showShelfAnew();
        },
  );
}

// By file name; the last list counts.
async function recordsOf(lists) {
  const found = new Map();
  for (const list of lists) {
    try {
      const images = JSON.parse(await list.text()).images;
      for (const [id, record] of Object.entries(images)) {
        found.set(typeof record.filename === "string" ? record.filename : `${id}.png`, record);
      }
    } catch {
      tellTrouble(`${list.name} is no gallery.json of ALICE.`);
    }
  }
  return found;
}

function showShelfAnew() {
  return htmx.ajax("GET", window.location.pathname + window.location.search, { target: "#shelf", select: "#shelf", swap: "outerHTML" });
}

if (bringButton !== null) {
  bringButton.hidden = false;
  bringButton.addEventListener("click", () => bringFiles.click());
  bringFiles.addEventListener("change", () => {
    const files = [...bringFiles.files];
    bringFiles.value = "";
    bring(files);
  });

  const hasFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;
  window.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    dragged += 1;
    dropHere.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    dragged = Math.max(0, dragged - 1);
    dropHere.hidden = dragged === 0;
  });
  window.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    dragged = 0;
    dropHere.hidden = true;
    bring([...event.dataTransfer.files]);
  });
}
